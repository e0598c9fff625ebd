"""The reference answers in the columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from swiftrl.rlhf.rewards.reward import MissingColumn, RowFault

__all__ = ["references"]


def references(columns: Mapping[str, Sequence[Any]]) -> list[str | None]:
    """Return the reference answers: the column `solution`, or `answer` where there is none.

    Raises:
        MissingColumn: the data have neither.
        RowFault: one is no text and no number.
    """
    name = next((name for name in ("solution", "answer") if name in columns), None)
    if name is None:
        raise MissingColumn("solution", "answer")
    found: list[str | None] = []
    for index, value in enumerate(columns[name]):
        if value is not None and not isinstance(value, (str, int, float)):
            kind = type(value).__name__
            raise RowFault(index, f"{name!r} is a {kind}; expected a text or a number.")
        text = None if value is None else str(value).strip()
        found.append(text or None)
    return found
