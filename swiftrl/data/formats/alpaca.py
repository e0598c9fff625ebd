"""Alpaca: `instruction`, `input`, `output`, with LLaMA-Factory's history, chosen and rejected."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from swiftrl.data.draft import Draft, RowFormat, as_text, found
from swiftrl.data.replies import (
    history_turns,
    rejected_reply,
    reply_messages,
    system_turns,
    user,
)

_REPLIES = ("output", "chosen", "response")


def detect(values: Mapping[str, Any]) -> int:
    """An `instruction` column."""
    if "instruction" not in values:
        return 0
    return 35 if "chosen" in values and "rejected" in values else 25


def convert(values: Mapping[str, Any]) -> Draft:
    """Read one row; instruction and input are joined by a line break."""
    query = as_text(values["instruction"], "instruction")
    if values.get("input"):
        given = as_text(values["input"], "input")
        query = f"{query}\n{given}" if query else given
    system, system_columns = system_turns(values)
    history, history_columns = history_turns(values)
    turns = [*system, *history, user(query)]
    used = frozenset(("instruction", "input")) | system_columns | history_columns
    rejected, columns = rejected_reply(values)
    name = found(values, _REPLIES)
    if name is None:
        return Draft(turns, 0, rejected, None, used, columns)
    reply = reply_messages(values[name], name)
    return Draft(turns + reply, len(reply), rejected, None, used, columns | {name})


FORMAT = RowFormat(
    detect, convert, "instruction, output [input, system, history, chosen, rejected, label]"
)
