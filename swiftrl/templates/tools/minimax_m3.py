"""MiniMax M3: XML all the way down, each tag behind a mark; lists as <item> tags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from swiftrl.core.errors import TemplateError
from swiftrl.core.messages import ToolCall
from swiftrl.templates.parsing.calls import Calls
from swiftrl.templates.parsing.scanner import Scanner, Steps
from swiftrl.templates.parsing.values import decode, encode
from swiftrl.templates.syntax import ToolSyntax, arguments_of, to_json

_NS = "]<]minimax[>["
_BEGIN, _END = f"{_NS}<tool_call>", f"{_NS}</tool_call>"
_INVOKE, _INVOKED = f'{_NS}<invoke name="', f"{_NS}</invoke>"


@dataclass(frozen=True, kw_only=True)
class NestedCalls(ToolSyntax):
    """Calls as nested tags; values that are None have none."""

    def starts(self, names: Sequence[str] | None) -> tuple[str, ...]:
        """Return the mark before calls."""
        return (_BEGIN,)

    def render(self, calls: Sequence[ToolCall]) -> str:
        """Return the calls between their tags."""
        texts = (
            f'{_INVOKE}{call.name}">{_members(arguments_of(call))}{_INVOKED}\n' for call in calls
        )
        return f"{_BEGIN}\n{''.join(texts)}{_END}"

    def read(self, scanner: Scanner, calls: Calls) -> Steps[None]:
        """Read the calls of one block."""
        yield from scanner.expect(_BEGIN)
        yield from scanner.space()
        yield from scanner.expect(_INVOKE)
        while True:
            yield from self._call(scanner, calls)
            end = scanner.at
            yield from scanner.space()
            begin = scanner.at
            sign = yield from scanner.match(_INVOKE, _END)
            if sign != _INVOKE:
                scanner.at = scanner.at if sign else end
                return
            scanner.mark = begin

    def _call(self, scanner: Scanner, calls: Calls) -> Steps[None]:
        name, _ = yield from scanner.until('">')
        yield calls.start(name)
        values: dict[str, Any] = {}
        while True:
            yield from scanner.space()
            if (yield from scanner.expect(_INVOKED, f"{_NS}<")) == _INVOKED:
                break
            key, _ = yield from scanner.until(">")
            value = yield from _value(scanner, key, calls.schema(key))
            yield calls.piece(f"{', ' if values else '{'}{to_json(key)}: {to_json(value)}")
            values[key] = value
        yield calls.piece("}" if values else "{}")
        yield calls.end(values)


def _value(scanner: Scanner, tag: str, schema: Mapping[str, Any] | None) -> Steps[Any]:
    """Read what stands between a tag, whose opening is read, and its end."""
    text, _ = yield from scanner.until(_NS)
    members: list[tuple[str, Any]] = []
    while (yield from scanner.expect("</", "<")) == "<":
        key, _ = yield from scanner.until(">")
        members.append((key, (yield from _value(scanner, key, _inner(schema, key)))))
        yield from scanner.until(_NS)
    yield from scanner.expect(f"{tag}>")
    if not members:
        empty = {"object": {}, "array": []}.get(str((schema or {}).get("type")))
        return empty if empty is not None and not text.strip() else decode(text, schema)
    if all(key == "item" for key, _ in members) and (schema or {}).get("type") != "object":
        return [value for _, value in members]
    return dict(members)


def _inner(schema: Mapping[str, Any] | None, key: str) -> Mapping[str, Any] | None:
    """Return the schema of a member or an item."""
    known = schema or {}
    found = known.get("items") if key == "item" else None
    found = found or (known.get("properties") or {}).get(key)
    return found if isinstance(found, Mapping) else None


def _members(values: Mapping[str, Any]) -> str:
    kept = ((key, value) for key, value in values.items() if value is not None)
    return "".join(f"{_NS}<{_tag(key)}>{_written(value)}{_NS}</{key}>" for key, value in kept)


def _written(value: Any) -> str:
    if isinstance(value, Mapping):
        return _members(value)
    if isinstance(value, (list, tuple)):
        return "".join(f"{_NS}<item>{_written(item)}{_NS}</item>" for item in value)
    text = encode(value)
    if _NS in text:
        raise TemplateError(f"an argument holds {_NS!r}, which marks tags here.")
    return text


def _tag(key: str) -> str:
    if not key or ">" in key or key.startswith("/") or _NS in key:
        raise TemplateError(f"{key!r} cannot be an argument's name in this syntax.")
    return key


SYNTAX = NestedCalls(marks="minimax_m3")
