"""Syntaxes that write calls as Python does: `name(key="value", count=3)`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from swiftrl.core.errors import TemplateError
from swiftrl.core.messages import ToolCall
from swiftrl.templates.parsing.calls import Calls
from swiftrl.templates.parsing.scanner import MalformedCall, Scanner, Steps
from swiftrl.templates.parsing.values import literal
from swiftrl.templates.syntax import ToolSyntax, arguments_of, to_json

__all__ = ["PythonicCalls"]

_SIGN = re.compile(r"""["'(){}\[\],=\\]""")
_NAME = re.compile(r"[^\W\d]\w*")
_QUOTED = {'"': re.compile(r'["\\]'), "'": re.compile(r"['\\]")}


@dataclass(frozen=True, kw_only=True)
class PythonicCalls(ToolSyntax):
    """Calls with keyword arguments.

    Attributes:
        block: texts before and behind all calls of a turn.
        joint: text between calls.
    """

    block: tuple[str, str] = ("[", "]")
    joint: str = ", "

    def starts(self, names: Sequence[str] | None) -> tuple[str, ...]:
        """Return the mark before calls."""
        return (self._opening or "[",)

    @property
    def _opening(self) -> str:
        return self.block[0].removesuffix("[").strip()

    @property
    def _closing(self) -> str:
        return self.block[1].removeprefix("]").strip()

    def render(self, calls: Sequence[ToolCall]) -> str:
        """Return the calls between their marks."""
        return f"{self.block[0]}{self.joint.join(map(self._render_call, calls))}{self.block[1]}"

    def _render_call(self, call: ToolCall) -> str:
        arguments = arguments_of(call)
        odd = [key for key in arguments if not _NAME.fullmatch(key)]
        if odd:
            raise TemplateError(
                f"argument {odd[0]!r} of the call of {call.name!r} is no Python name, which this "
                "tool-call syntax needs."
            )
        return f"{call.name}({', '.join(f'{k}={_python(v)}' for k, v in arguments.items())})"

    def read(self, scanner: Scanner, calls: Calls) -> Steps[None]:
        """Read calls as long as another one follows."""
        if self._opening:
            yield from scanner.expect(self._opening)
            yield from scanner.space()
        listed = yield from scanner.match("[")
        yield from scanner.space()
        while True:
            yield from self._call(scanner, calls)
            if not (yield from self._another(scanner, "]" if listed else "")):
                return

    def _another(self, scanner: Scanner, bracket: str) -> Steps[bool]:
        """Pass over what closes the calls; return whether another one follows instead."""
        before = scanner.at
        yield from scanner.space()
        begin = scanner.at
        sign = yield from scanner.match(",", *filter(None, (bracket, self._closing)))
        if sign and sign == bracket:
            before = scanner.at
            yield from scanner.space()
            sign = (yield from scanner.match(self._closing)) if self._closing else sign
            scanner.at = scanner.at if sign == self._closing else before
            return False
        if sign == self._closing and sign:
            return False
        if sign == ",":
            yield from scanner.space()
        elif "\n" not in self.joint or not (yield from scanner.peek()).isidentifier():
            scanner.at = before
            return False
        scanner.mark = begin
        return True

    def _call(self, scanner: Scanner, calls: Calls) -> Steps[None]:
        name, _ = yield from scanner.until("(")
        if self.where == "reply" and not (calls.names and calls.offers(name.strip())):
            raise MalformedCall(f"no tool is called {name.strip()!r}")
        yield calls.start(name)
        values: dict[str, Any] = {}
        yield from scanner.space()
        done = bool((yield from scanner.match(")")))
        while not done:
            done = yield from self._argument(scanner, calls, values)
        yield calls.piece("}" if values else "{}")
        yield calls.end(values)

    def _argument(self, scanner: Scanner, calls: Calls, values: dict[str, Any]) -> Steps[bool]:
        """Read an argument; return whether it was the last."""
        yield from scanner.space()
        if values and (yield from scanner.match(")")):
            return True
        key, _ = yield from scanner.until("=")
        if not _NAME.fullmatch(key.strip()):
            raise MalformedCall(f"{key.strip()[:40]!r} is no argument's name")
        text = yield from _expression(scanner)
        try:
            value = literal(text)
        except ValueError:
            raise MalformedCall(f"{text[:40]!r} is no literal") from None
        yield calls.piece(f"{', ' if values else '{'}{to_json(key.strip())}: {to_json(value)}")
        values[key.strip()] = value
        return (yield from scanner.expect(",", ")")) == ")"


def _expression(scanner: Scanner) -> Steps[str]:
    """Pass over an expression, up to the comma or bracket that ends it."""
    begin, depth, quote = scanner.at, 0, ""
    while True:
        found = (_QUOTED[quote] if quote else _SIGN).search(scanner.text, scanner.at)
        if found is None:
            scanner.at = len(scanner.text)
            yield from scanner.more()
            continue
        sign, scanner.at = found[0], found.end()
        if sign == "\\":
            while scanner.at >= len(scanner.text):
                yield from scanner.more()
            scanner.at += 1
        elif sign in _QUOTED:
            quote = "" if quote else sign
        elif sign in "([{":
            depth += 1
        elif not depth and sign in ",)":
            scanner.at -= 1
            return scanner.text[begin : scanner.at]
        elif sign in ")]}":
            depth -= 1


def _python(value: Any) -> str:
    """Return a value as a Python literal, strings quoted as JSON has them."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{to_json(k)}: {_python(v)}' for k, v in value.items())}}}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_python, value))}]"
    return to_json(value) if isinstance(value, str) else repr(value)
