"""From a file's columns to a checked row of the kind that an algorithm takes."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from swiftrl.core.registry import Registry
from swiftrl.data.building import BUILDERS, Reading, kind_of, quoted
from swiftrl.data.draft import RowFormat
from swiftrl.data.rows import (
    BadRow,
    Instruction,
    LabelledReply,
    PlainText,
    PreferencePair,
    Prompt,
    RawRow,
    Row,
    RowError,
    RowKind,
    ScoredReply,
    StepwiseReply,
)

__all__ = [
    "FORMATS",
    "Instruction",
    "LabelledReply",
    "PlainText",
    "PreferencePair",
    "Prompt",
    "Row",
    "RowKind",
    "ScoredReply",
    "StepwiseReply",
    "detect_format",
    "detect_kind",
    "to_row",
]

FORMATS: Registry[RowFormat] = Registry("row format", "swiftrl.data.formats", "FORMAT")


def to_row(raw: RawRow, kind: RowKind, columns: Mapping[str, str] | None = None) -> Row:
    """Read one raw row as a row of the wanted kind.

    The row's format is recognised by its columns. Pairs serve as instructions too (the chosen
    reply), and a reply at the end of a row read as a prompt is left out and kept in `extra`.
    Replies that equal each other, empty messages and unknown roles are errors.

    Args:
        raw: columns with their origin.
        kind: what the algorithm takes.
        columns: {"name in the file": "name the format expects"}.

    Raises:
        RowError: the row does not fit; the message names its place and what to do.
    """
    try:
        values = _renamed(raw.values, columns) if columns else raw.values
        draft = _format_of(values)[1].convert(values)
        return BUILDERS[kind](Reading(draft, values, raw))
    except BadRow as error:
        absent = [name for name in columns or () if name not in raw.values]
        hint = f" (--columns names {quoted(absent)}, which the row lacks.)" if absent else ""
        raise RowError(raw.origin, f"{error}{hint}") from None


def detect_format(values: Mapping[str, Any]) -> str:
    """Return the name of the row format that fits these columns; BadRow when none does."""
    return _format_of(values)[0]


def detect_kind(raw: RawRow, columns: Mapping[str, str] | None = None) -> RowKind:
    """Return the most telling kind that a row can serve as.

    Raises:
        RowError: no format fits.
    """
    try:
        values = _renamed(raw.values, columns) if columns else raw.values
        return kind_of(_format_of(values)[1].convert(values), values)
    except BadRow as error:
        raise RowError(raw.origin, str(error)) from None


def _renamed(values: Mapping[str, Any], columns: Mapping[str, str]) -> dict[str, Any]:
    result = {name: value for name, value in values.items() if name not in columns}
    for old, new in columns.items():
        if old not in values:
            continue
        if new in result:
            raise BadRow(
                f'--columns renames "{old}" to "{new}", but the row has a column "{new}" already.'
            )
        result[new] = values[old]
    return result


@functools.cache
def _formats() -> tuple[tuple[str, RowFormat], ...]:
    return tuple(FORMATS.items())


def _format_of(values: Mapping[str, Any]) -> tuple[str, RowFormat]:
    best, score = None, 0
    for item in _formats():
        fits = item[1].detect(values)
        if fits > score:
            best, score = item, fits
    if best is None:
        known = "; ".join(form.columns for _, form in _formats())
        raise BadRow(
            f"the row's columns are {quoted(values)}, which fit no known format. Rename them "
            f'with --columns \'{{"yours": "expected"}}\'. Known: {known}.'
        )
    return best
