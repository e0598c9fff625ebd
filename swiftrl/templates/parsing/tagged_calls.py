"""Syntaxes that write every argument between tags of its own, its type left to the schema."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from swiftrl.core.errors import TemplateError
from swiftrl.core.messages import ToolCall
from swiftrl.templates.parsing.calls import Calls
from swiftrl.templates.parsing.scanner import Scanner, Steps
from swiftrl.templates.parsing.values import decode, encode, is_text, unquoted
from swiftrl.templates.syntax import ToolSyntax, arguments_of, to_json

__all__ = ["TaggedCalls"]

_STRING: Mapping[str, Any] = {"type": "string"}


@dataclass(frozen=True, kw_only=True)
class TaggedCalls(ToolSyntax):
    """Calls as tags around a name and around each argument.

    Every text is written as it is given, and read with white space around it optional.

    Attributes:
        block: texts before and behind all calls of a turn.
        call: texts before the name, between the name and the arguments, and behind them.
        argument: texts before the key, between the key and the value, and behind the value.
        joint: text between calls.
        gap: text between arguments.
        padded: values stand on lines of their own.
        each: every call has its own block.
    """

    block: tuple[str, str] = ("", "")
    call: tuple[str, str, str] = ("", "", "")
    argument: tuple[str, str, str] = ("", "", "")
    joint: str = "\n"
    gap: str = "\n"
    padded: bool = False
    each: bool = False

    def starts(self, names: Sequence[str] | None) -> tuple[str, ...]:
        """Return the marks before calls."""
        return tuple(dict.fromkeys(filter(None, (self.block[0].strip(), self.call[0].strip()))))

    def head(self, name: str, index: int) -> str:
        """Return what the opening tag of a call holds."""
        return name

    def name_in(self, head: str) -> str:
        """Return the function's name, given what the opening tag of a call holds."""
        return head

    def key(self, name: str, value: Any) -> str:
        """Return what the opening tag of an argument holds."""
        return name

    def key_in(self, head: str, calls: Calls) -> tuple[str, Mapping[str, Any] | None]:
        """Return an argument's key and schema, given what its opening tag holds."""
        return head.strip(), calls.schema(head.strip())

    def value_of(self, text: str, schema: Mapping[str, Any] | None) -> Any:
        """Return the value that stands between an argument's tags."""
        return decode(text, schema)

    def render(self, calls: Sequence[ToolCall]) -> str:
        """Return the calls between their tags."""
        texts = [self._render_call(call, index) for index, call in enumerate(calls)]
        if self.each:
            return self.joint.join(f"{self.block[0]}{text}{self.block[1]}" for text in texts)
        return f"{self.block[0]}{self.joint.join(texts)}{self.block[1]}"

    def _render_call(self, call: ToolCall, index: int) -> str:
        parts = [
            self._render_argument(call.name, key, value)
            for key, value in arguments_of(call).items()
        ]
        before, middle, after = self.call
        inner = self.gap.join(parts) + (self.gap if parts else "")
        return f"{before}{self.head(call.name, index)}{middle}{inner}{after}"

    def _render_argument(self, name: str, key: str, value: Any) -> str:
        before, middle, after = self.argument
        head, text = self.key(key, value), encode(value)
        if after.strip() in text or middle.split()[0] in head or not head.strip():
            raise TemplateError(
                f"argument {key!r} of the call of {name!r} holds {after.strip()!r} or cannot be a "
                "tag, which this tool-call syntax cannot carry."
            )
        line = "\n" if self.padded else ""
        return f"{before}{head}{middle}{line}{text}{line}{after}"

    def read(self, scanner: Scanner, calls: Calls) -> Steps[None]:
        """Read calls as long as another one follows."""
        opening, closing = (text.strip() for text in self.block)
        while True:
            if opening:
                yield from scanner.match(opening)
                yield from scanner.space()
            yield from scanner.expect(self.call[0].strip())
            yield from self._call(scanner, calls)
            if not (yield from self._another(scanner, opening, closing)):
                return

    def _another(self, scanner: Scanner, opening: str, closing: str) -> Steps[bool]:
        """Pass over the end of the block; return whether another call follows."""
        while True:
            end = scanner.at
            yield from scanner.space()
            begin = scanner.at
            marks = tuple(filter(None, (opening, closing, self.call[0].strip())))
            sign = yield from scanner.match(*marks)
            if not sign:
                scanner.at = end
                return False
            if sign != closing:
                scanner.at = scanner.mark = begin
                return True

    def _call(self, scanner: Scanner, calls: Calls) -> Steps[None]:
        opening, closing = self.argument[0].strip(), self.call[2].strip()
        ends = tuple(filter(None, (self.call[1].strip() or "\n", opening, closing)))
        head, end = yield from scanner.until(*ends)
        if end in (opening, closing):
            scanner.at -= len(end)
        yield calls.start(self.name_in(head))
        values: dict[str, Any] = {}
        while True:
            yield from scanner.space()
            if (yield from scanner.expect(opening, closing)) == closing:
                break
            yield from self._argument(scanner, calls, values)
        if not values:
            yield calls.piece("{")
        yield calls.piece("}")
        yield calls.end(values)

    def _argument(self, scanner: Scanner, calls: Calls, values: dict[str, Any]) -> Steps[None]:
        first, *others = self.argument[1].split()
        head, _ = yield from scanner.until(first)
        for mark in others:
            yield from scanner.space()
            yield from scanner.expect(mark)
        key, schema = self.key_in(head, calls)
        yield calls.piece(f"{', ' if values else '{'}{to_json(key)}: ")
        ends: tuple[str, ...] = (self.argument[2].strip(),)
        if self.padded:
            yield from scanner.match("\n")
            ends = (f"\n{ends[0]}", ends[0])
        if is_text(schema):
            values[key] = yield from self._text(scanner, calls, ends)
            return
        text, _ = yield from scanner.until(*ends)
        values[key] = self.value_of(text, schema)
        yield calls.piece(to_json(values[key]))

    def _text(self, scanner: Scanner, calls: Calls, ends: tuple[str, ...]) -> Steps[str]:
        """Read a string, and report it as it grows."""
        pieces: list[str] = []

        def take(text: str) -> Any:
            pieces.append(text)
            return calls.piece(unquoted(text))

        yield calls.piece('"')
        if not (yield from scanner.stream(ends, take)):
            yield from scanner.more()
        yield calls.piece('"')
        return "".join(pieces)
