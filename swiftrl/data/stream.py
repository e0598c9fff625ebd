"""Rows encoded as they are read, for data too large to encode first (`--streaming true`)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from swiftrl.core import log
from swiftrl.core.errors import ConfigError, DataError
from swiftrl.data import mix
from swiftrl.data.config import DataConfig
from swiftrl.data.rejects import (
    REJECTS_FILE,
    Reject,
    append_reject,
    nothing_left,
    row_text,
)
from swiftrl.data.rows import Origin, Record, RowError
from swiftrl.data.sources import DatasetSpec, Source, resolve
from swiftrl.data.store import EncodedRow
from swiftrl.data.workers import RowEncoder, TooLong

__all__ = ["StreamedDataset"]


@dataclass
class StreamedDataset:
    """The rows of `--dataset`, read again for each epoch.

    Data sets are joined end to end or interleaved, then mixed within `shuffle_buffer_size` rows;
    `#n` takes the first n rows. Nothing is cached. Rows set aside gather in `rejects`.

    Attributes:
        config: the data settings.
        encoder: what makes tokens of a row.
        seed: of the run; `config.data_seed` goes first.
        use_hf: where hub ids without a prefix are sought.
        rejects_folder: where rejected_rows.jsonl grows as rows are set aside; None writes none.
        rejects: rows set aside so far, each once.
        epochs_begun: how often the rows were iterated over.
    """

    config: DataConfig
    encoder: RowEncoder
    seed: int
    use_hf: bool = False
    rejects_folder: Path | None = None
    rejects: list[Reject] = field(default_factory=list)
    epochs_begun: int = 0

    def __post_init__(self) -> None:
        config = self.config
        self._known: set[Origin] = set()
        if config.split_dataset_ratio:
            raise ConfigError(
                "--split_dataset_ratio does not work with --streaming true, where the number of "
                "rows is unknown; give --val_dataset."
            )
        if config.interleave_prob:
            mix.check_probabilities(config.interleave_prob, len(config.dataset))
        if config.data_seed is not None:
            self.seed = config.data_seed

    def __iter__(self) -> Iterator[EncodedRow]:
        """Yield the next epoch's rows: the first time epoch 0, then 1, and so on."""
        self.epochs_begun += 1
        return self.epoch(self.epochs_begun - 1)

    def epoch(self, number: int) -> Iterator[EncodedRow]:
        """Yield the rows of one epoch; each has its own order, the same in every process.

        Raises:
            RowError: a bad row, unless strict is false.
            DataError: none of the rows can be used.
        """
        usable = False
        for source, record in self._records(number):
            for row in self._encode(source, record):
                usable = True
                yield row
        if not usable:
            raise DataError(nothing_left(", ".join(self.config.dataset), self.rejects))

    def _records(self, epoch: int) -> Iterator[tuple[Source, Record]]:
        config = self.config
        openers = [partial(self._open, name) for name in config.dataset]
        seed = self.seed + epoch
        if config.interleave_prob:
            joined = mix.stream_interleaved(
                openers,
                config.interleave_prob,
                seed,
                config.stopping_strategy,  # type: ignore[arg-type]
            )
        else:
            joined = itertools.chain.from_iterable(opener() for opener in openers)
        if not config.dataset_shuffle:
            return joined
        return mix.shuffled_stream(joined, config.shuffle_buffer_size, seed)

    def _open(self, name: str) -> Iterator[tuple[Source, Record]]:
        sources, wanted = resolve(
            DatasetSpec.parse(name),
            use_hf=self.use_hf,
            dataset_info=self.config.dataset_info,
            streaming=True,
        )
        found = ((source, record) for source in sources for record in source.records())
        return itertools.islice(found, wanted)

    def _encode(self, source: Source, record: Record) -> list[EncodedRow]:
        try:
            rows = self.encoder(source.decode(record))
            finish = getattr(self.encoder, "load_media", None)
            return rows if finish is None else [finish(row) for row in rows]
        except RowError as error:
            too_long = isinstance(error, TooLong)
            if self.config.strict and not too_long:
                raise
            cause = "too_long" if too_long else "bad"
            self._set_aside(Reject(error.origin, error.reason, cause, row_text(record)))
            return []

    def _set_aside(self, reject: Reject) -> None:
        if reject.origin in self._known:
            return
        self._known.add(reject.origin)
        self.rejects.append(reject)
        if self.rejects_folder is None:
            return
        file = self.rejects_folder / REJECTS_FILE
        if len(self.rejects) == 1:
            log.warn(f"{reject}; such rows are set aside in {file}")
        append_reject(file, reject, first=len(self.rejects) == 1)
