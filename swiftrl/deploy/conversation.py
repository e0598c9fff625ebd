"""Conversations from requests' messages."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from swiftrl.core.messages import Conversation, Message, Part, ToolCall
from swiftrl.deploy.problems import Problem

__all__ = ["conversation_of", "tools_of"]

_ROLES = {"developer": "system", "function": "tool"}
_KNOWN = ("system", "user", "assistant", "tool")


def conversation_of(
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Mapping[str, Any]],
    media_hosts: Sequence[str],
) -> Conversation:
    """Return a request's messages as a conversation.

    Args:
        messages: OpenAI's.
        tools: on offer.
        media_hosts: from which media may be fetched.

    Raises:
        Problem: a message is none.
    """
    made = tuple(_message(m, f"messages[{i}]", media_hosts) for i, m in enumerate(messages))
    return Conversation(made, tuple(dict(tool) for tool in tools))


def tools_of(tools: Sequence[Any] | None) -> list[dict[str, Any]]:
    """Return the functions on offer.

    Raises:
        Problem: one is no function.
    """
    for place, tool in enumerate(tools or ()):
        function = tool.get("function") if tool.get("type") == "function" else None
        name = function.get("name") if isinstance(function, dict) else None
        fits = isinstance(name, str) and 0 < len(name) <= 64
        if not fits or not isinstance(function.get("parameters") or {}, dict):  # type: ignore[union-attr]
            raise _wrong(f"tools[{place}]", "expected {type: function, function: {name, ...}}")
    return [dict(tool) for tool in tools or ()]


def _message(given: Mapping[str, Any], place: str, hosts: Sequence[str]) -> Message:
    role = given.get("role")
    role = _ROLES.get(role, role) if isinstance(role, str) else role
    if role not in _KNOWN:
        raise _wrong(f"{place}.role", f"expected one of {', '.join(_KNOWN)}; got {role!r:.50}")
    content = _content(given.get("content"), f"{place}.content", hosts)
    calls = tuple(
        _call(call, f"{place}.tool_calls[{index}]")
        for index, call in enumerate(_listed(given.get("tool_calls"), f"{place}.tool_calls"))
    )
    if content is None and role != "assistant":
        raise _wrong(f"{place}.content", "expected text or a list of parts")
    texts = {
        name: _text(given.get(name), f"{place}.{name}")
        for name in ("name", "tool_call_id", "reasoning_content")
    }
    return Message(
        role,  # type: ignore[arg-type]
        content or "",
        reasoning_content=texts["reasoning_content"],
        tool_calls=calls,
        name=texts["name"],
        tool_call_id=texts["tool_call_id"],
    )


def _content(given: Any, place: str, hosts: Sequence[str]) -> str | tuple[Part, ...] | None:
    if given is None or isinstance(given, str):
        return given
    parts = tuple(
        _part(part, f"{place}[{i}]", hosts) for i, part in enumerate(_listed(given, place))
    )
    if all(part.kind == "text" for part in parts):
        return "".join(part.text or "" for part in parts)
    return parts


def _part(given: Any, place: str, hosts: Sequence[str]) -> Part:
    kind = given.get("type") if isinstance(given, dict) else None
    if kind in ("text", "refusal"):
        return Part("text", text=_text(given.get(kind), f"{place}.{kind}") or "")
    if kind in ("image_url", "video_url", "audio_url"):
        inner = given.get(kind)
        url = inner.get("url") if isinstance(inner, dict) else inner
        return Part(kind.removesuffix("_url"), source=_source(url, place, hosts))  # type: ignore[arg-type]
    if kind == "input_audio" and isinstance(given.get(kind), dict):
        inner = given[kind]
        data = f"data:audio/{inner.get('format', 'wav')};base64,{inner.get('data', '')}"
        return Part("audio", source=data)
    raise _wrong(
        place, "expected a part of type text, image_url, video_url, audio_url or input_audio"
    )


def _source(url: Any, place: str, hosts: Sequence[str]) -> str:
    """Return where media come from: no files of this machine, no hosts of a client's choice."""
    if isinstance(url, str) and url[:5].lower() == "data:":
        return url
    try:
        parts = urlsplit(url) if isinstance(url, str) else None
        host, port = (parts.hostname, parts.port) if parts is not None else (None, None)
    except ValueError:
        parts, host, port = None, None, None
    fits = parts is not None and parts.scheme == "https" and port in (None, 443)
    if not fits or host not in hosts or "@" in (parts.netloc if parts else ""):
        allowed = f"https addresses at {', '.join(hosts)}" if hosts else "no addresses"
        raise _wrong(place, f"media come as data: URIs; this server fetches from {allowed}")
    return str(url)


def _call(given: Any, place: str) -> ToolCall:
    function = given.get("function") if isinstance(given, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise _wrong(place, "expected {id, type: function, function: {name, arguments}}")
    arguments = function.get("arguments", "{}")
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments or "{}")
        except (ValueError, RecursionError):
            raise _wrong(f"{place}.function.arguments", "expected JSON") from None
    if not isinstance(arguments, dict):
        raise _wrong(f"{place}.function.arguments", "expected a JSON object")
    return ToolCall(function["name"], arguments, _text(given.get("id"), f"{place}.id"))


def _listed(given: Any, place: str) -> list[Any]:
    if given is None:
        return []
    if not isinstance(given, list):
        raise _wrong(place, "expected a list")
    return given


def _text(given: Any, place: str) -> str | None:
    if given is None or isinstance(given, str):
        return given
    raise _wrong(place, "expected text")


def _wrong(place: str, expected: str) -> Problem:
    return Problem(400, f"'{place}': {expected}.", param=place, code="invalid_value")
