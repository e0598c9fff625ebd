"""ShareGPT: `conversations` of from/value objects, with LLaMA-Factory's chosen and rejected."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from swiftrl.data.draft import Draft, RowFormat, as_list, found
from swiftrl.data.formats.messages import conversation_draft
from swiftrl.data.replies import assistant, user

_NAMES = ("conversations", "conversation")
_ASKERS = ("human", "user")


def detect(values: Mapping[str, Any]) -> int:
    """A `conversations` column; with chosen and rejected it is still this form."""
    if found(values, _NAMES) is None:
        return 0
    return 35 if "chosen" in values and "rejected" in values else 25


def convert(values: Mapping[str, Any]) -> Draft:
    """Read `conversations`; entries may also be {"human": ..., "assistant": ...} pairs."""
    name = found(values, _NAMES) or _NAMES[0]
    turns: list[Any] = []
    for turn in as_list(values[name], name):
        turns += _expanded(turn)
    return conversation_draft(values, name, turns)


def _expanded(turn: Any) -> list[Any]:
    if not isinstance(turn, Mapping) or "assistant" not in turn:
        return [turn]
    asker = next((key for key in _ASKERS if key in turn), None)
    if asker is None:
        return [turn]
    return [user(turn[asker]), assistant(turn["assistant"])]


FORMAT = RowFormat(detect, convert, "conversations [system, tools, chosen, rejected, label]")
