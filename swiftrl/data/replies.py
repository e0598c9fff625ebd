"""Shapes shared by several row formats: replies, earlier turns, system prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from swiftrl.data.draft import as_list, as_text, found, shown
from swiftrl.data.rows import BadRow
from swiftrl.data.turns import canonical_role

__all__ = [
    "assistant",
    "history_turns",
    "is_messages",
    "rejected_reply",
    "reply_messages",
    "system_turns",
    "user",
]

_REJECTED = ("rejected_response", "rejected")
SYSTEM = ("system", "system_prompt")


def user(content: Any) -> dict[str, Any]:
    """Return a user message."""
    return {"role": "user", "content": content}


def assistant(content: Any) -> dict[str, Any]:
    """Return an assistant message."""
    return {"role": "assistant", "content": content}


def is_messages(value: Any) -> bool:
    """Whether `value` is a list of message objects (not a list of texts)."""
    return isinstance(value, list) and bool(value) and isinstance(value[0], Mapping)


def reply_messages(value: Any, name: str) -> list[Any]:
    """Return a reply, given as text, as one message or as several, as messages.

    Args:
        value: the column.
        name: of the column, for messages.

    Raises:
        BadRow: it is none of these, or has no content.
    """
    if isinstance(value, str):
        if not value.strip():
            raise BadRow(f'"{name}" is empty; give it text, or remove the row.')
        return [assistant(value)]
    if isinstance(value, Mapping):
        return [value]
    if is_messages(value):
        return list(value)
    raise BadRow(f'"{name}" is {shown(value)}; expected text, a message or a list of messages.')


def rejected_reply(values: Mapping[str, Any]) -> tuple[list[Any] | None, frozenset[str]]:
    """Return the messages of the rejected reply, or None, and the column they come from."""
    name = found(values, _REJECTED)
    if name is None:
        return None, frozenset()
    return reply_messages(values[name], name), frozenset((name,))


def system_turns(values: Mapping[str, Any]) -> tuple[list[Any], frozenset[str]]:
    """Return the system message of a `system` column, if there is one, and that column."""
    name = found(values, SYSTEM)
    if name is None:
        return [], frozenset()
    text = as_text(values[name], name)
    return ([{"role": "system", "content": text}] if text.strip() else []), frozenset((name,))


def history_turns(values: Mapping[str, Any]) -> tuple[list[Any], frozenset[str]]:
    """Return the earlier turns of a `history` column, [[query, response], ...], and its name."""
    if "history" not in values:
        return [], frozenset()
    turns: list[Any] = []
    for number, pair in enumerate(as_list(values["history"], "history")):
        if not isinstance(pair, Sequence) or isinstance(pair, str) or len(pair) != 2:
            raise BadRow(f"history[{number}] is {shown(pair)}; expected [query, response].")
        turns += [user(pair[0]), assistant(pair[1])]
    return turns, frozenset(("history",))


def with_system(turns: list[Any], system: list[Any]) -> list[Any]:
    """Put a system message in front unless the conversation starts with one of its own."""
    if turns and canonical_role(turns[0]) == "system":
        return turns
    return system + turns
