"""Syntaxes that write a call as marks around a function's name and its arguments as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from swiftrl.core.errors import TemplateError
from swiftrl.core.messages import ToolCall
from swiftrl.templates.parsing.calls import Calls, as_object
from swiftrl.templates.parsing.jsontext import json_value
from swiftrl.templates.parsing.scanner import MalformedCall, Scanner, Steps
from swiftrl.templates.syntax import ToolSyntax, arguments_of, to_json

__all__ = ["NamedCalls"]


@dataclass(frozen=True, kw_only=True)
class NamedCalls(ToolSyntax):
    """Calls as `before` head `between` JSON `after`.

    Attributes:
        before: text before the head, which holds the name.
        between: text between head and arguments.
        after: text behind the arguments.
        block: texts before and behind all calls of a turn.
        joint: text between calls.
        more_between: other texts that end the head.
    """

    before: str = ""
    between: str = ""
    after: str = ""
    block: tuple[str, str] = ("", "")
    joint: str = ""
    more_between: tuple[str, ...] = ()

    def starts(self, names: Sequence[str] | None) -> tuple[str, ...]:
        """Return the marks before calls."""
        return (*filter(None, [self.block[0].strip()]), self.before)

    def head(self, call: ToolCall, index: int) -> str:
        """Return what stands before the arguments of the call with number `index`."""
        return call.name

    def names(self, head: str) -> tuple[str, str | None]:
        """Return the name and the id that a head holds; MalformedCall if none."""
        return head, None

    def render(self, calls: Sequence[ToolCall]) -> str:
        """Return the calls between their marks."""
        heads = [self.head(call, index) for index, call in enumerate(calls)]
        for head in heads:
            if any(mark and mark in head for mark in (self.between, self.after)):
                raise TemplateError(f"{head!r} holds marks of the tool-call syntax.")
        items = (
            f"{self.before}{head}{self.between}{to_json(arguments_of(call))}{self.after}"
            for head, call in zip(heads, calls, strict=True)
        )
        return f"{self.block[0]}{self.joint.join(items)}{self.block[1]}"

    def read(self, scanner: Scanner, calls: Calls) -> Steps[None]:
        """Read calls as long as another one follows."""
        block = self.block[0].strip()
        if block:
            yield from scanner.match(block)
            yield from scanner.space()
        while True:
            yield from (scanner.expect if block else scanner.match)(self.before)
            yield from self._call(scanner, calls)
            if not (yield from self._another(scanner)):
                return

    def _call(self, scanner: Scanner, calls: Calls) -> Steps[None]:
        head, _ = yield from scanner.until(self.between, *self.more_between)
        name, identity = self.names(head)
        if self.where == "reply" and not calls.offers(name.strip()):
            raise MalformedCall(f"no tool is called {name.strip()!r}")
        yield calls.start(name, identity)
        yield from scanner.space()
        if (yield from scanner.peek()) != "{":
            raise MalformedCall("expected {")
        text = yield from json_value(scanner, calls.piece)
        arguments = as_object(text)
        yield from self._close(scanner)
        yield calls.end(arguments)

    def _close(self, scanner: Scanner) -> Steps[None]:
        """Pass over what stands behind the arguments; the end of the reply does as well."""
        after = self.after.strip()
        if not after:
            return
        end = scanner.at
        yield from scanner.space()
        if not scanner.exhausted:
            yield from scanner.expect(after)
        else:
            scanner.at = end

    def _another(self, scanner: Scanner) -> Steps[bool]:
        """Pass over the end of the block; return whether another call follows."""
        end = scanner.at
        yield from scanner.space()
        begin = scanner.at
        marks = tuple(filter(None, (self.before, self.block[1].strip())))
        sign = (yield from scanner.match(*marks)) if marks else ""
        if sign and sign == self.before:
            scanner.at = scanner.mark = begin
            return True
        if not sign:
            scanner.at = end
        return False
