"""What a row format makes of a row, before it is checked and turned into a kind of row."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from swiftrl.data.rows import BadRow

__all__ = ["Draft", "RowFormat", "as_list", "as_text", "found", "shown"]

LONGEST_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Draft:
    """A row in one common form, nothing checked yet.

    Attributes:
        messages: the conversation as role/content (or from/value) objects, a reply included
            where the row has one.
        reply_length: how many of the last messages are the reply; None: the assistant's messages
            at the end.
        rejected: the messages of the rejected reply, or None.
        text: a document for pre-training, or None.
        prompt_columns: columns that went into the prompt.
        reply_columns: columns that went into the replies.
        derived: values for `extra` that the format draws from inside a column.
    """

    messages: list[Any]
    reply_length: int | None = None
    rejected: list[Any] | None = None
    text: str | None = None
    prompt_columns: frozenset[str] = frozenset()
    reply_columns: frozenset[str] = frozenset()
    derived: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RowFormat:
    """A row format: exported as FORMAT by a module of `swiftrl.data.formats`.

    Attributes:
        detect: says how well a row's columns fit: 0 not at all; of the formats that answer more,
            the highest wins. By convention 10 for a format recognised by one common column name,
            20 by a telling name, 30 by several.
        convert: makes the draft; raises BadRow.
        columns: one line for people that says which columns the format has.
    """

    detect: Callable[[Mapping[str, Any]], int]
    convert: Callable[[Mapping[str, Any]], Draft]
    columns: str


def shown(value: Any) -> str:
    """Return `value` as JSON, cut to a length that fits in a message."""
    text = json.dumps(value, ensure_ascii=False, default=repr)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."


def as_list(value: Any, name: str) -> list[Any]:
    """Return a list column; a string is read as JSON or as a Python literal (CSV files).

    Raises:
        BadRow: it is neither.
    """
    if isinstance(value, str):
        value = _parsed(value, name)
    if not isinstance(value, list):
        raise BadRow(f'"{name}" is {shown(value)}; expected a list.')
    return value


def _parsed(text: str, name: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        pass
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        raise BadRow(
            f'"{name}" is the text {shown(text)}; expected a list, or a list written as JSON.'
        ) from None


def as_text(value: Any, name: str) -> str:
    """Return a text column.

    Raises:
        BadRow: it is something else.
    """
    if not isinstance(value, str):
        raise BadRow(f'"{name}" is {shown(value)}; expected text.')
    return value


def found(values: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    """Return the first of `names` that is a column, or None."""
    return next((name for name in names if name in values), None)
