"""Lists of messages, in any of the usual spellings, as `Message` objects."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from swiftrl.core.messages import Message
from swiftrl.core.registry import did_you_mean
from swiftrl.data.draft import shown
from swiftrl.data.parts import MediaCursor, parse_content
from swiftrl.data.rows import BadRow
from swiftrl.data.toolcalls import parse_tool_calls

__all__ = ["canonical_role", "parse_turns"]

_TOOL_CALL = "tool_call"
_ROLES = {
    "system": ("system", "developer"),
    "user": ("user", "human"),
    "assistant": ("assistant", "gpt", "bot", "model", "chatgpt"),
    _TOOL_CALL: (_TOOL_CALL, "function_call"),
    "tool": (
        "tool",
        "tool_response",
        "function_response",
        "function",
        "observation",
        "observations",
        "ipython",
    ),
}
_CANONICAL = {alias: role for role, aliases in _ROLES.items() for alias in aliases}
_THOUGHTS = ("reasoning_content", "reasoning", "thinking")


def canonical_role(message: Any) -> str | None:
    """Return system, user, assistant, tool_call or tool for a raw message; None if unknown."""
    if not isinstance(message, Mapping):
        return None
    role = message.get("role", message.get("from"))
    return _CANONICAL.get(role.replace("-", "_")) if isinstance(role, str) else None


def parse_turns(
    raw: Sequence[Any], cursor: MediaCursor, *, where: str = "messages", first: int = 0
) -> tuple[Message, ...]:
    """Return the messages of `raw`.

    Turns in the role tool_call (function_call) become calls of one assistant message, together
    with the assistant's words just before them. An empty system message is left out.

    Args:
        raw: objects with role and content, or from and value.
        cursor: the row's media, taken in order.
        where: the column, for messages.
        first: number of `raw[0]` within the column, for messages.

    Raises:
        BadRow: a message is malformed, has an unknown role, or is empty.
    """
    messages: list[Message] = []
    for number, item in enumerate(raw, start=first):
        message = _parse_turn(item, cursor, f"{where}[{number}]")
        if message.role == "system" and not message.content:
            continue
        before = messages[-1] if messages else None
        if before is not None and canonical_role(item) == _TOOL_CALL and _joins(before, message):
            calls = before.tool_calls + message.tool_calls
            messages[-1] = replace(before, tool_calls=calls)
        else:
            messages.append(message)
    return tuple(messages)


def _joins(before: Message, call: Message) -> bool:
    same_weight = (before.loss, before.loss_scale) == (call.loss, call.loss_scale)
    return before.role == "assistant" and same_weight


def _parse_turn(item: Any, cursor: MediaCursor, where: str) -> Message:
    if not isinstance(item, Mapping):
        raise BadRow(f'{where} is {shown(item)}; expected an object with "role" and "content".')
    role = canonical_role(item)
    if role is None:
        raise _unknown_role(item, where)
    content = item.get("content", item.get("value"))
    loss, scale = _weights(item, where)
    if role == _TOOL_CALL:
        calls = parse_tool_calls(content, f"{where}.content")
        return Message("assistant", tool_calls=calls, loss=loss, loss_scale=scale)
    calls = ()
    if role == "assistant":
        raw_calls = item.get("tool_calls") or item.get("function_call")
        if raw_calls:
            calls = parse_tool_calls(raw_calls, f"{where}.tool_calls")
    thoughts = next((item[key] for key in _THOUGHTS if isinstance(item.get(key), str)), None)
    message = Message(
        role=role,  # type: ignore[arg-type]
        content=parse_content(content, cursor, where),
        reasoning_content=thoughts if role == "assistant" else None,
        tool_calls=calls,
        name=_text_or_none(item, "name", where),
        tool_call_id=_text_or_none(item, "tool_call_id", where),
        loss=loss,
        loss_scale=scale,
    )
    _check_not_empty(message, where)
    return message


def _unknown_role(item: Mapping[str, Any], where: str) -> BadRow:
    role = item.get("role", item.get("from"))
    if role is None:
        return BadRow(
            f'{where} has the keys {", ".join(map(str, item)) or "(none)"}; expected "role" and '
            '"content" (or "from" and "value").'
        )
    known = sorted(_CANONICAL)
    hint = did_you_mean(role, known) if isinstance(role, str) else ""
    return BadRow(
        f"{where} has the role {shown(role)}; expected system, user, assistant, tool_call, "
        f"tool_response or tool (ShareGPT: human, gpt, function_call, observation).{hint}"
    )


def _check_not_empty(message: Message, where: str) -> None:
    content = message.content
    blank = isinstance(content, str) and not content.strip()
    if blank and message.role == "user":
        raise BadRow(f"{where} (user) is empty; give it text, or remove the row.")
    if blank and message.role == "assistant" and not message.tool_calls:
        raise BadRow(f"{where} (assistant) is empty; give it text, or remove the row.")


def _weights(item: Mapping[str, Any], where: str) -> tuple[bool | None, float | None]:
    loss = item.get("loss", item.get("weight"))
    if loss is not None:
        if loss not in (0, 1, True, False):
            raise BadRow(f"{where}.loss is {shown(loss)}; expected true or false.")
        loss = bool(loss)
    scale = item.get("loss_scale")
    if scale is not None:
        good = isinstance(scale, int | float) and not isinstance(scale, bool)
        if not good or not math.isfinite(scale) or scale < 0:
            raise BadRow(f"{where}.loss_scale is {shown(scale)}; expected a number >= 0.")
        scale = float(scale)
    return loss, scale


def _text_or_none(item: Mapping[str, Any], key: str, where: str) -> str | None:
    value = item.get(key)
    if value is None or isinstance(value, str):
        return value or None
    raise BadRow(f"{where}.{key} is {shown(value)}; expected text.")
