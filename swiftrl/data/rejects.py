"""Rows that were set aside: which, why, and where they can be read."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from swiftrl.core.files import disk_errors, write_text
from swiftrl.data.rows import BadRow, Origin, Record

__all__ = [
    "REJECTS_FILE",
    "Reject",
    "append_reject",
    "nothing_left",
    "reasons",
    "row_text",
    "save_rejects",
    "write_rejects",
]


REJECTS_FILE = "rejected_rows.jsonl"


@dataclass(frozen=True, slots=True)
class Reject:
    """A row that does not train.

    Attributes:
        origin: file and line.
        reason: why, without the place.
        cause: "bad" for a row that does not fit, "too_long" for one that was deleted for its
            length.
        row: the row as JSON text, or its text where it is no JSON.
    """

    origin: Origin
    reason: str
    cause: Literal["bad", "too_long"]
    row: str

    def __str__(self) -> str:
        return f"{self.origin}: {self.reason}"

    def to_json(self) -> dict[str, Any]:
        """Return the line that `write_rejects` writes."""
        try:
            row = json.loads(self.row)
        except json.JSONDecodeError:
            row = self.row
        place = {"file": self.origin.source, "line": self.origin.line}
        return {**place, "cause": self.cause, "reason": self.reason, "row": row}


def row_text(record: Record) -> str:
    """Return a record as text for the file of rejected rows."""
    if isinstance(record.data, bytes):
        return record.data.decode("utf-8", errors="backslashreplace")
    if isinstance(record.data, BadRow):
        return json.dumps(None)
    return json.dumps(record.data, ensure_ascii=False, default=repr)


def write_rejects(path: Path, rejects: Iterable[Reject]) -> None:
    """Write one JSON object a line with file, line, cause, reason and row."""
    lines = (json.dumps(item.to_json(), ensure_ascii=False) for item in rejects)
    write_text(path, "".join(f"{line}\n" for line in lines))


def append_reject(path: Path, reject: Reject, *, first: bool) -> None:
    """Add one line to the file; the first one starts it anew."""
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w" if first else "a", encoding="utf-8") as file:
            file.write(json.dumps(reject.to_json(), ensure_ascii=False) + "\n")


def reasons(rejects: Iterable[Reject]) -> list[tuple[str, int, Reject]]:
    """Return (reason, count, first example), the most frequent reason first.

    Reasons that differ in their numbers or quotations only count as one.
    """
    first: dict[str, Reject] = {}
    counts: Counter[str] = Counter()
    for item in rejects:
        kind = _outline(item.reason)
        counts[kind] += 1
        first.setdefault(kind, item)
    return [(first[kind].reason, count, first[kind]) for kind, count in counts.most_common()]


def _outline(reason: str) -> str:
    words = ("#" if any(char.isdigit() for char in word) else word for word in reason.split())
    return " ".join(words)[:80]


def save_rejects(path: Path, rejects: Sequence[Reject]) -> None:
    """Write the rows set aside, or remove an older run's file when there are none."""
    if rejects:
        write_rejects(path, rejects)
    else:
        path.unlink(missing_ok=True)


def nothing_left(names: str, rejects: Sequence[Reject]) -> str:
    """Return the message for data of which no row can be used."""
    first = rejects[0] if rejects else None
    example = f" The first, {first}" if first else ""
    return f"{names}: none of the {len(rejects)} rows can be used.{example}"
