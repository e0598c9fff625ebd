"""One question, one answer: `query` and `response`, with `history` and `system`."""

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

_QUESTIONS = ("query", "question", "problem")
_ANSWERS = ("response", "answer", "answers", "solution", "output", "completion", "target")


def detect(values: Mapping[str, Any]) -> int:
    """A `query` column (or question, or problem)."""
    name = found(values, _QUESTIONS)
    return 0 if name is None else 20 if name == "query" else 15


def convert(values: Mapping[str, Any]) -> Draft:
    """Read one row; of several answers in a list the first is taken."""
    name = found(values, _QUESTIONS) or _QUESTIONS[0]
    system, system_columns = system_turns(values)
    history, history_columns = history_turns(values)
    turns = [*system, *history, user(as_text(values[name], name))]
    used = frozenset((name,)) | system_columns | history_columns
    rejected, columns = rejected_reply(values)
    answer = found(values, _ANSWERS)
    if answer is None:
        return Draft(turns, 0, rejected, None, used, columns)
    value = values[answer]
    if isinstance(value, list) and value and isinstance(value[0], str):
        value = value[0]
    reply = reply_messages(value, answer)
    return Draft(turns + reply, len(reply), rejected, None, used, columns | {answer})


FORMAT = RowFormat(detect, convert, "query, response [system, history, rejected_response, label]")
