"""Swift's and OpenAI's form: `messages`, and the rejected reply beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from swiftrl.data.draft import Draft, RowFormat, as_list
from swiftrl.data.replies import rejected_reply, reply_messages, system_turns, with_system
from swiftrl.data.rows import BadRow
from swiftrl.data.turns import canonical_role


def detect(values: Mapping[str, Any]) -> int:
    """A `messages` column; a preference row of another form may hold one besides."""
    if "messages" not in values:
        return 0
    replies_beside = "chosen" in values and "rejected" in values and "prompt" not in values
    return 35 if replies_beside else 20


def convert(values: Mapping[str, Any]) -> Draft:
    """Read `messages` with `rejected_response`, `rejected_messages` or `chosen`/`rejected`."""
    return conversation_draft(values, "messages", as_list(values["messages"], "messages"))


def conversation_draft(values: Mapping[str, Any], name: str, turns: list[Any]) -> Draft:
    """Make the draft of a row that holds its conversation in column `name`.

    `chosen` is the preferred reply to a conversation that ends before it; `rejected_messages` is
    a whole second conversation; `rejected_response` (or `rejected`) replaces the last reply.
    """
    system, system_columns = system_turns(values)
    turns = with_system(turns, system)
    used = frozenset((name,)) | system_columns
    if "rejected_messages" in values:
        other = with_system(as_list(values["rejected_messages"], "rejected_messages"), system)
        return diverging(turns, other, used, frozenset(("rejected_messages",)))
    rejected, columns = rejected_reply(values)
    if "chosen" in values and rejected is not None:
        chosen = reply_messages(values["chosen"], "chosen")
        return Draft(turns + chosen, len(chosen), rejected, None, used, columns | {"chosen"})
    length = None
    if rejected is not None and any(canonical_role(turn) != "assistant" for turn in rejected):
        length = _length_after_user(turns)
    return Draft(turns, length, rejected, None, used, columns)


def diverging(
    chosen: list[Any], rejected: list[Any], prompt: frozenset[str], replies: frozenset[str]
) -> Draft:
    """Make the draft of two whole conversations: their common start is the prompt.

    Raises:
        BadRow: they have no start in common that ends with a user's or a tool's message.
    """
    shared = 0
    for left, right in zip(chosen, rejected, strict=False):
        if left != right:
            break
        shared += 1
    while shared and canonical_role(chosen[shared - 1]) not in ("user", "tool"):
        shared -= 1
    if not shared:
        raise BadRow(
            "the chosen and the rejected conversation begin differently; both must start with the "
            "same prompt, up to a user message."
        )
    reply = len(chosen) - shared
    return Draft(chosen, reply, rejected[shared:], None, prompt, replies)


def _length_after_user(turns: list[Any]) -> int:
    for length, turn in enumerate(reversed(turns)):
        if canonical_role(turn) in ("user", "system"):
            return length
    return len(turns)


FORMAT = RowFormat(
    detect, convert, "messages [system, tools, rejected_response | rejected_messages, label]"
)
