"""TRL's `prompt` and `completion`, with `label` for KTO; or a prompt alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from swiftrl.data.draft import Draft, RowFormat, as_text, found
from swiftrl.data.replies import (
    history_turns,
    is_messages,
    rejected_reply,
    reply_messages,
    system_turns,
    user,
    with_system,
)

_REPLIES = ("completion", "response", "answer", "solution", "output", "target")


def detect(values: Mapping[str, Any]) -> int:
    """A `prompt` column."""
    return 10 if "prompt" in values else 0


def convert(values: Mapping[str, Any]) -> Draft:
    """Read one row; a textual prompt becomes a user message."""
    return prompt_draft(values, "prompt", _REPLIES)


def prompt_draft(values: Mapping[str, Any], name: str, replies: tuple[str, ...]) -> Draft:
    """Make the draft of a row: prompt in column `name`, reply in one of `replies`."""
    value = values[name]
    turns = list(value) if is_messages(value) else [user(as_text(value, name))]
    system, system_columns = system_turns(values)
    history, history_columns = history_turns(values)
    turns = with_system(history + turns, system)
    used = frozenset((name,)) | system_columns | history_columns
    rejected, columns = rejected_reply(values)
    column = found(values, replies)
    if column is None:
        return Draft(turns, 0, rejected, None, used, columns)
    reply = reply_messages(values[column], column)
    return Draft(turns + reply, len(reply), rejected, None, used, columns | {column})


FORMAT = RowFormat(detect, convert, "prompt [completion | response | answer, label, system]")
