"""Gemma's syntaxes: `call:name{key:value,...}` with strings between marks of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from swiftrl.core.errors import TemplateError
from swiftrl.core.messages import ToolCall
from swiftrl.templates.parsing.calls import Calls
from swiftrl.templates.parsing.scanner import MalformedCall, Scanner, Steps
from swiftrl.templates.parsing.values import decode
from swiftrl.templates.syntax import ToolSyntax, arguments_of, to_json

__all__ = ["BraceCalls"]

_SIGNS = frozenset("{}[],:")


@dataclass(frozen=True, kw_only=True)
class BraceCalls(ToolSyntax):
    """Calls with bare keys and marked strings.

    Attributes:
        item: marks before and behind each call.
        quote: mark on both sides of a string.
    """

    item: tuple[str, str]
    quote: str

    def starts(self, names: Sequence[str] | None) -> tuple[str, ...]:
        """Return the mark before calls."""
        return (self.item[0],)

    def render(self, calls: Sequence[ToolCall]) -> str:
        """Return the calls between their marks."""
        return "".join(
            f"{self.item[0]}call:{call.name}{self._written(arguments_of(call))}{self.item[1]}"
            for call in calls
        )

    def _written(self, value: Any) -> str:
        if isinstance(value, dict):
            return f"{{{','.join(f'{self._key(k)}:{self._written(v)}' for k, v in value.items())}}}"
        if isinstance(value, (list, tuple)):
            return f"[{','.join(map(self._written, value))}]"
        if not isinstance(value, str):
            return to_json(value)
        if self.quote in value:
            raise TemplateError(f"an argument holds {self.quote!r}, which marks strings here.")
        return f"{self.quote}{value}{self.quote}"

    def _key(self, key: str) -> str:
        if not key.strip() or key != key.strip() or _SIGNS & set(key) or self.quote in key:
            raise TemplateError(f"{key!r} cannot be an argument's name in this syntax.")
        return key

    def read(self, scanner: Scanner, calls: Calls) -> Steps[None]:
        """Read one call."""
        yield from scanner.expect(self.item[0])
        yield from scanner.space()
        yield from scanner.expect("call:")
        name, _ = yield from scanner.until("{")
        yield calls.start(name)
        values: dict[str, Any] = {}
        yield from self._members(scanner, values, calls)
        yield calls.piece("}" if values else "{}")
        end = scanner.at
        yield from scanner.space()
        if not (yield from scanner.match(self.item[1])):
            scanner.at = end
            if not scanner.exhausted:
                raise MalformedCall(f"expected {self.item[1]!r}")
        yield calls.end(values)

    def _members(
        self, scanner: Scanner, values: dict[str, Any], calls: Calls | None = None
    ) -> Steps[None]:
        """Read the members of an object, whose brace is read, into `values`."""
        yield from scanner.space()
        if (yield from scanner.match("}")):
            return
        while True:
            quoted = yield from scanner.match(self.quote)
            key, _ = yield from scanner.until(f"{self.quote}:" if quoted else ":")
            value = yield from self._value(scanner)
            if calls is not None:
                sign = ", " if values else "{"
                yield calls.piece(f"{sign}{to_json(key.strip())}: {to_json(value)}")
            values[key.strip()] = value
            yield from scanner.space()
            if (yield from scanner.expect(",", "}")) == "}":
                return

    def _value(self, scanner: Scanner) -> Steps[Any]:
        yield from scanner.space()
        sign = yield from scanner.match(self.quote, "{", "[")
        if sign == self.quote:
            return (yield from scanner.until(self.quote))[0]
        if sign == "{":
            values: dict[str, Any] = {}
            yield from self._members(scanner, values)
            return values
        if sign == "[":
            return (yield from self._items(scanner))
        text, end = yield from scanner.until(",", "}", "]")
        scanner.at -= len(end)
        return decode(text, None)

    def _items(self, scanner: Scanner) -> Steps[list[Any]]:
        items: list[Any] = []
        yield from scanner.space()
        if (yield from scanner.match("]")):
            return items
        while True:
            items.append((yield from self._value(scanner)))
            yield from scanner.space()
            if (yield from scanner.expect(",", "]")) == "]":
                return items
