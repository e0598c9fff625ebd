"""The data of a run: every `--dataset` encoded, sampled, mixed and split."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from swiftrl.core import log
from swiftrl.core.errors import ConfigError, DataError
from swiftrl.data import mix
from swiftrl.data.config import DataConfig
from swiftrl.data.encode import EncodeJob, default_cache, encode_sources
from swiftrl.data.rejects import REJECTS_FILE, Reject, nothing_left, row_text, save_rejects
from swiftrl.data.rows import Row, RowError, RowKind
from swiftrl.data.schema import to_row
from swiftrl.data.sources import DatasetSpec, Source, resolve
from swiftrl.data.store import EncodedRow, Store
from swiftrl.data.workers import RowEncoder, parts_of

__all__ = ["REJECTS_FILE", "Datasets", "EncodedDataset", "load_datasets", "load_rows"]


_PEEKED_ROWS = 100


class EncodedDataset(Sequence[EncodedRow]):
    """Encoded rows of several stores in one order; picklable.

    Args:
        stores: where the rows lie.
        order: [rows, 2] int64, (store, row) of each row.
        finish: completes a row when it is picked, such as by reading its pictures.
    """

    def __init__(
        self,
        stores: Sequence[Store],
        order: np.ndarray,
        finish: Callable[[EncodedRow], EncodedRow] | None = None,
    ) -> None:
        self.stores = tuple(stores)
        self.order = order
        self.finish = finish

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, index: int) -> EncodedRow:  # type: ignore[override]
        store, row = self.order[index]
        found = self.stores[int(store)][int(row)]
        return found if self.finish is None else self.finish(found)

    def select(self, indices: np.ndarray) -> EncodedDataset:
        """Return the rows at `indices`, in that order."""
        return EncodedDataset(self.stores, self.order[indices], self.finish)

    @property
    def lengths(self) -> np.ndarray:
        """[rows] int64, tokens of each row that run through the model (a shared prompt once)."""
        result = np.empty(len(self.order), dtype=np.int64)
        for number, store in enumerate(self.stores):
            here = self.order[:, 0] == number
            result[here] = store.row_tokens[self.order[here, 1]]
        return result

    @property
    def columns(self) -> dict[str, np.ndarray]:
        """[rows] float32 by name: the numbers that every row has."""
        names = set.intersection(*(set(store.column_names) for store in self.stores))
        result = {name: np.empty(len(self.order), dtype=np.float32) for name in sorted(names)}
        for number, store in enumerate(self.stores):
            here = self.order[:, 0] == number
            for name, values in result.items():
                values[here] = store.column(name)[self.order[here, 1]]
        return result

    @property
    def fingerprint(self) -> str:
        """A hash of the rows and their order, by which a resumed run knows its data."""
        digest = hashlib.sha256(self.order.astype("<i8").tobytes())
        for store in self.stores:
            digest.update(store.contents.encode())
        return digest.hexdigest()


@dataclass(frozen=True)
class Datasets:
    """What a run trains and is evaluated on.

    Attributes:
        train: the training rows, in mixed order; the trainer shuffles them for each epoch.
        evaluation: held-out rows, or None.
        rejects: rows that were set aside.
    """

    train: EncodedDataset
    evaluation: EncodedDataset | None
    rejects: tuple[Reject, ...] = ()


def load_datasets(
    config: DataConfig,
    encoder: RowEncoder,
    *,
    seed: int,
    use_hf: bool = False,
    rejects_folder: Path | None = None,
) -> Datasets:
    """Encode all that `config` names.

    `#n` draws n rows with the seed (the first n without dataset_shuffle); data sets are then
    joined end to end, or interleaved by `interleave_prob`; `split_dataset_ratio` holds out rows
    of the result when there is no `val_dataset`. What happened to the rows is printed.

    Args:
        config: the data settings.
        encoder: what makes tokens of a row.
        seed: of the run; `config.data_seed` goes first.
        use_hf: where hub ids without a prefix are sought.
        rejects_folder: where rejected_rows.jsonl is written when rows were set aside.

    Raises:
        DataError: a file or a row is at fault.
        ConfigError: settings contradict each other.
    """
    if not config.dataset:
        raise ConfigError("--dataset is missing: name a file, builtin:NAME or a hub id.")
    seed = config.data_seed if config.data_seed is not None else seed
    load = _Loading(config, encoder, seed, use_hf)
    train = load.mixed(config.dataset)
    evaluation = load.joined(config.val_dataset) if config.val_dataset else None
    if evaluation is None and config.split_dataset_ratio:
        kept, held = mix.split(len(train), config.split_dataset_ratio, seed)
        train, evaluation = train.select(kept), train.select(held)
    load.report(rejects_folder)
    return Datasets(train, evaluation, tuple(load.rejects))


class _Loading:
    """Loads the data sets of one run and remembers what was set aside."""

    def __init__(self, config: DataConfig, encoder: RowEncoder, seed: int, use_hf: bool) -> None:
        self.config, self.seed, self.use_hf = config, seed, use_hf
        self.job = EncodeJob(
            encoder,
            strict=config.strict,
            num_proc=config.dataset_num_proc,
            cache_dir=Path(config.cache_dir).expanduser() if config.cache_dir else default_cache(),
            use_cache=config.load_from_cache_file,
        )
        self.finish = getattr(encoder, "load_media", None)
        self.rejects: list[Reject] = []
        self._unseen_columns = set(config.columns)

    def mixed(self, names: Sequence[str]) -> EncodedDataset:
        """Return data sets interleaved, if the settings say so, else joined."""
        probabilities = self.config.interleave_prob
        if not probabilities:
            return self.joined(names)
        mix.check_probabilities(probabilities, len(names))
        parts = [self.one(name, number) for number, name in enumerate(names)]
        drawn = mix.interleaved(
            [len(order) for _, order in parts],
            probabilities,
            self.seed,
            self.config.stopping_strategy,  # type: ignore[arg-type]
        )
        order = drawn.copy()
        for number, (_, rows) in enumerate(parts):
            here = drawn[:, 0] == number
            order[here, 1] = rows[drawn[here, 1]]
        return EncodedDataset([store for store, _ in parts], order, self.finish)

    def joined(self, names: Sequence[str]) -> EncodedDataset:
        """Return data sets end to end."""
        parts = [self.one(name, number) for number, name in enumerate(names)]
        order = mix.concatenated([len(rows) for _, rows in parts])
        order[:, 1] = np.concatenate([rows for _, rows in parts])
        return EncodedDataset([store for store, _ in parts], order, self.finish)

    def one(self, name: str, number: int) -> tuple[Store, np.ndarray]:
        """Return one data set's store and the rows of it that are wanted, in their order."""
        sources, wanted = resolve(
            DatasetSpec.parse(name),
            use_hf=self.use_hf,
            dataset_info=self.config.dataset_info,
        )
        self._look_for_columns(sources)
        picks = None
        if wanted is not None:
            total = sum(source.count() for source in sources)
            shuffle = self.config.dataset_shuffle
            picks = mix.sample(total, wanted, self.seed + number, shuffle=shuffle)
            if wanted > total:
                log.warn(f"--dataset {name}: there are {total} rows only; some come repeatedly.")
        store, rejects = encode_sources(
            sources, self.job, None if picks is None else np.unique(picks)
        )
        self.rejects += rejects
        rows = np.arange(len(store)) if picks is None else _rows_of(store, picks)
        self._describe(name, store, rows, rejects)
        return store, rows

    def _look_for_columns(self, sources: Sequence[Source]) -> None:
        """Note which of the columns to rename the first rows have."""
        for source in sources if self._unseen_columns else ():
            for record in itertools.islice(source.records(), _PEEKED_ROWS):
                with contextlib.suppress(RowError):
                    self._unseen_columns -= source.decode(record).values.keys()

    def _describe(
        self, name: str, store: Store, rows: np.ndarray, rejects: Sequence[Reject]
    ) -> None:
        tokens = store.row_tokens[rows]
        causes = Counter(reject.cause for reject in rejects)
        text = (
            f"{name}: {len(rows):,} rows, {int(tokens.sum()):,} tokens, longest "
            f"{int(tokens.max()):,}"
        )
        truncated = store.num_truncated
        if truncated:
            text += f"; {truncated:,} sequences truncated"
        if causes["too_long"]:
            text += f"; {causes['too_long']:,} rows deleted (longer than max_length)"
        if causes["bad"]:
            text += f"; {causes['bad']:,} bad rows set aside"
        log.info(text)

    def report(self, folder: Path | None) -> None:
        """Write the rows set aside and say where they are; name columns that nothing has."""
        if self._unseen_columns:
            names = ", ".join(sorted(self._unseen_columns))
            log.warn(f"--columns names {names}, which none of the first rows has.")
        if folder is None:
            return
        save_rejects(folder / REJECTS_FILE, self.rejects)
        if self.rejects:
            first = self.rejects[0]
            log.warn(
                f"{len(self.rejects)} rows were set aside in {folder / REJECTS_FILE}; the first, "
                f"{first}"
            )


def _rows_of(store: Store, picks: np.ndarray) -> np.ndarray:
    """Return the rows that came of the records `picks`, in the order of `picks`."""
    first = np.searchsorted(store.row_records, picks, side="left")
    last = np.searchsorted(store.row_records, picks, side="right")
    spans = [np.arange(start, end) for start, end in zip(first, last, strict=True) if end > start]
    return np.concatenate(spans) if spans else np.empty(0, dtype=np.int64)


def load_rows(
    config: DataConfig,
    names: Sequence[str],
    kind: RowKind,
    *,
    seed: int,
    use_hf: bool = False,
) -> tuple[list[Row], list[Reject]]:
    """Return rows as objects, for what needs conversations rather than tokens (prompts).

    Args:
        config: the data settings.
        names: `config.dataset` or `config.val_dataset`.
        kind: of the rows.
        seed: of `#n`.
        use_hf: where hub ids without a prefix are sought.

    Raises:
        RowError: a bad row, unless `config.strict` is false: then it is returned as a reject.
    """
    seed = config.data_seed if config.data_seed is not None else seed
    rows: list[Row] = []
    rejects: list[Reject] = []
    for number, name in enumerate(names):
        sources, wanted = resolve(
            DatasetSpec.parse(name), use_hf=use_hf, dataset_info=config.dataset_info
        )
        picks = None
        if wanted is not None:
            total = sum(source.count() for source in sources)
            picks = mix.sample(total, wanted, seed + number, shuffle=config.dataset_shuffle)
        found: dict[int, Row] = {}
        for part in parts_of(sources, None if picks is None else np.unique(picks)):
            source = sources[part.source]
            for place, record in zip(part.numbers, part.records, strict=True):
                try:
                    found[place] = to_row(source.decode(record), kind, config.columns)
                except RowError as error:
                    if config.strict:
                        raise
                    rejects.append(Reject(error.origin, error.reason, "bad", row_text(record)))
        order = found if picks is None else picks.tolist()
        rows += [found[place] for place in order if place in found]
    if not rows:
        raise DataError(nothing_left(", ".join(names), rejects))
    return rows, rejects
