"""What is in data files, found without training: the report behind `swiftrl data check`."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from swiftrl.core import log
from swiftrl.core.messages import Message
from swiftrl.data.rejects import Reject, reasons, row_text
from swiftrl.data.row_encoder import TemplateRowEncoder
from swiftrl.data.rows import PlainText, PreferencePair, RawRow, Record, Row, RowError, RowKind
from swiftrl.data.schema import detect_format, detect_kind, to_row
from swiftrl.data.sources import DatasetSpec, Source, resolve
from swiftrl.data.store import EncodedRow
from swiftrl.templates.template import Template

__all__ = ["FileReport", "Report", "check"]

_PERCENTILES = (0, 50, 90, 95, 99, 100)
_BINS = (128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768)


@dataclass
class FileReport:
    """What one file holds.

    Attributes:
        name: the file.
        rows: records in it.
        kinds: usable rows by what they can train (preference, instruction, ...).
        formats: rows by format.
        bad: rows that cannot be used.
        bad_reasons: [reason, rows, first place] of each sort of fault.
        duplicate_rows: rows that repeat an earlier row word for word.
        duplicate_prompts: usable rows whose prompt an earlier row has, repeated rows included.
        identical_replies: pairs whose chosen and rejected reply are the same (bad rows, too).
        unused_columns: columns, with their counts, that the format does not use.
        missing_columns: names in --columns that no row has.
        lengths: percentiles of tokens a sequence, {"0": ..., "50": ..., "100": ...}; with a
            model only.
        histogram: sequences by length, {"<=128": ...}; with a model only.
        too_long: rows longer than max_length.
        tokens: of all usable rows together; a prompt that a pair shares counts once.
        trained_tokens: how many of them train.
    """

    name: str
    rows: int = 0
    kinds: dict[str, int] = field(default_factory=dict)
    formats: dict[str, int] = field(default_factory=dict)
    bad: int = 0
    bad_reasons: list[tuple[str, int, str]] = field(default_factory=list)
    duplicate_rows: int = 0
    duplicate_prompts: int = 0
    identical_replies: int = 0
    unused_columns: dict[str, int] = field(default_factory=dict)
    missing_columns: list[str] = field(default_factory=list)
    lengths: dict[str, int] = field(default_factory=dict)
    histogram: dict[str, int] = field(default_factory=dict)
    too_long: int = 0
    tokens: int = 0
    trained_tokens: int = 0


@dataclass
class Report:
    """What `check` found.

    Attributes:
        files: one report a file.
        rejects: every bad row.
        max_length: the limit that lengths were compared with.
    """

    files: list[FileReport]
    rejects: list[Reject] = field(default_factory=list)
    max_length: int | None = None

    @property
    def ok(self) -> bool:
        """Whether every row can be used."""
        return not self.rejects

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain data."""
        return {
            "ok": self.ok,
            "max_length": self.max_length,
            "files": [asdict(file) for file in self.files],
            "bad_rows": [reject.to_json() for reject in self.rejects],
        }

    def show(self) -> None:
        """Print the report as tables."""
        columns = ("file", "rows", "kind", "format", "bad", "same row", "same prompt")
        log.table("Rows", columns, [_row_cells(file) for file in self.files])
        measured = [file for file in self.files if file.lengths]
        if measured:
            title = "Tokens a sequence"
            if self.max_length is not None:
                title += f" (max_length {self.max_length})"
            heads = ("min", "median", "90%", "95%", "99%", "max", "too long", "trained", "all")
            log.table(title, ("file", *heads), [_length_cells(file) for file in measured])
        for file in self.files:
            self._show_faults(file)

    def _show_faults(self, file: FileReport) -> None:
        if file.missing_columns:
            log.warn(f"{file.name}: no row has {', '.join(file.missing_columns)} (--columns).")
        if file.unused_columns:
            names = ", ".join(f"{name} ({count})" for name, count in file.unused_columns.items())
            log.info(f"{file.name}: columns passed on unused: {names}")
        if file.bad_reasons:
            cells = [(str(count), place, reason) for reason, count, place in file.bad_reasons]
            log.table(f"Bad rows in {file.name}", ("rows", "first", "reason"), cells)


def _row_cells(file: FileReport) -> tuple[str, ...]:
    def listed(counts: Mapping[str, int]) -> str:
        if len(counts) == 1:
            return next(iter(counts))
        return ", ".join(f"{name} {count:,}" for name, count in counts.items()) or "-"

    numbers = (file.bad, file.duplicate_rows, file.duplicate_prompts)
    shown = (f"{number:,}" for number in numbers)
    return file.name, f"{file.rows:,}", listed(file.kinds), listed(file.formats), *shown


def _length_cells(file: FileReport) -> tuple[str, ...]:
    numbers = (*file.lengths.values(), file.too_long, file.trained_tokens, file.tokens)
    return file.name, *(f"{number:,}" for number in numbers)


def check(
    names: Sequence[str],
    template: Template | None = None,
    *,
    kind: RowKind | None = None,
    columns: Mapping[str, str] | None = None,
    max_length: int | None = None,
    use_hf: bool = False,
    dataset_info: str | None = None,
) -> Report:
    """Read every row of the data sets `names` and say what is in them.

    Args:
        names: in the syntax of `--dataset`; `#n` looks at the first n rows.
        template: a model's, to encode rows and verify their masks; None looks at rows only.
        kind: what rows must be; None takes each for what it can serve as.
        columns: columns to rename.
        max_length: longer sequences are counted.
        use_hf: where hub ids without a prefix are sought.
        dataset_info: a `dataset_info.json` in which names are looked up first.

    Raises:
        DataError: a file cannot be read at all. Bad rows are reported instead.
    """
    checker = _Checker(template, kind, dict(columns or {}), max_length)
    report = Report([], max_length=max_length)
    for name in names:
        sources, wanted = resolve(DatasetSpec.parse(name), use_hf=use_hf, dataset_info=dataset_info)
        for source in sources:
            counts = _FileCounts(FileReport(source.name))
            for record in source.records():
                if wanted is not None and counts.file.rows >= wanted:
                    break
                checker.record(source, record, counts)
            report.files.append(counts.finish(checker.columns))
            report.rejects += counts.rejects
    return report


@dataclass
class _FileCounts:
    """Counters of one file while it is read."""

    file: FileReport
    kinds: Counter[str] = field(default_factory=Counter)
    formats: Counter[str] = field(default_factory=Counter)
    seen_columns: set[str] = field(default_factory=set)
    unused: Counter[str] = field(default_factory=Counter)
    lengths: list[int] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    row_hashes: set[bytes] = field(default_factory=set)
    prompt_hashes: set[bytes] = field(default_factory=set)

    def finish(self, columns: Mapping[str, str]) -> FileReport:
        """Write the counters into the report."""
        file = self.file
        file.kinds = dict(self.kinds.most_common())
        file.formats = dict(self.formats.most_common())
        file.unused_columns = dict(self.unused.most_common())
        file.missing_columns = [name for name in columns if name not in self.seen_columns]
        file.bad = len(self.rejects)
        file.bad_reasons = [
            (reason, count, str(first.origin)) for reason, count, first in reasons(self.rejects)
        ]
        if self.lengths:
            lengths = np.array(self.lengths)
            found = np.percentile(lengths, _PERCENTILES, method="higher")
            file.lengths = {
                str(share): int(value) for share, value in zip(_PERCENTILES, found, strict=True)
            }
            file.histogram = _histogram(lengths)
        return file


def _histogram(lengths: np.ndarray) -> dict[str, int]:
    places = np.searchsorted(_BINS, lengths, side="left")
    names = [f"<={limit}" for limit in _BINS] + [f">{_BINS[-1]}"]
    return {name: int((places == i).sum()) for i, name in enumerate(names) if (places == i).any()}


@dataclass
class _Checker:
    """Looks at single records."""

    template: Template | None
    kind: RowKind | None
    columns: dict[str, str]
    max_length: int | None

    def record(self, source: Source, record: Record, counts: _FileCounts) -> None:
        """Count one record."""
        counts.file.rows += 1
        try:
            raw = source.decode(record)
            counts.seen_columns |= raw.values.keys()
            kind = self.kind or detect_kind(raw, self.columns)
            row = to_row(raw, kind, self.columns)
            encoded = self._encoded(row, kind)
        except RowError as error:
            if "reply are the same" in error.reason:
                counts.file.identical_replies += 1
            counts.rejects.append(Reject(error.origin, error.reason, "bad", row_text(record)))
            return
        counts.kinds[kind] += 1
        counts.formats[self._format(raw)] += 1
        counts.unused.update(row.extra.keys())
        self._repeats(row, counts)
        for made in encoded:
            self._measure(made, counts)

    def _format(self, raw: RawRow) -> str:
        return detect_format({self.columns.get(name, name): None for name in raw.values})

    def _encoded(self, row: Row, kind: RowKind) -> list[EncodedRow]:
        if self.template is None:
            return []
        return TemplateRowEncoder(self.template, kind).encode(row)

    def _measure(self, made: EncodedRow, counts: _FileCounts) -> None:
        file = counts.file
        lengths = [len(sequence) for sequence in made.sequences]
        counts.lengths += lengths
        file.tokens += made.num_tokens
        file.trained_tokens += sum(sequence.num_trained for sequence in made.sequences)
        file.too_long += self.max_length is not None and max(lengths) > self.max_length

    def _repeats(self, row: Row, counts: _FileCounts) -> None:
        prompt, reply = _split(row)
        first, whole = _digest(prompt), _digest((prompt, reply))
        counts.file.duplicate_prompts += first in counts.prompt_hashes
        counts.file.duplicate_rows += whole in counts.row_hashes
        counts.prompt_hashes.add(first)
        counts.row_hashes.add(whole)


def _digest(value: Any) -> bytes:
    return hashlib.blake2b(repr(value).encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _split(row: Row) -> tuple[Any, Any]:
    """Return what a row asks and what it answers."""
    if isinstance(row, PlainText):
        return row.text, ()
    messages: tuple[Message, ...] = row.conversation.messages
    if isinstance(row, PreferencePair):
        return (messages, row.conversation.tools), (row.chosen, row.rejected)
    end = len(messages)
    while end and messages[end - 1].role == "assistant":
        end -= 1
    return (messages[:end], row.conversation.tools), messages[end:]
