"""Syntaxes that write calls as JSON objects between marks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from swiftrl.core.messages import ToolCall
from swiftrl.templates.parsing.calls import Calls, as_object
from swiftrl.templates.parsing.jsontext import json_string, json_value
from swiftrl.templates.parsing.scanner import MalformedCall, Scanner, Steps
from swiftrl.templates.syntax import ToolSyntax, arguments_of, to_json

__all__ = ["JsonCalls"]

_NAMES = ("name", "tool_name")
_ARGUMENTS = ("arguments", "parameters")
_IDS = ("id", "tool_call_id")


@dataclass
class _Object:
    """What an object has said so far."""

    name: str | None = None
    id: str | None = None
    arguments: str | None = None
    started: bool = False


@dataclass(frozen=True, kw_only=True)
class JsonCalls(ToolSyntax):
    """Calls as JSON objects.

    Attributes:
        block: texts before and behind all calls of a turn.
        item: texts before and behind each call.
        joint: text between calls.
        keys: the keys of name and arguments, as written; others of the same meaning are read too.
        id_key: key of the call's id, None where the syntax has none.
        id_first: the id stands before the name.
        bare: no mark needs to introduce calls.
        more_starts: other texts that introduce calls.
        more_ends: other texts behind a call, passed over.
    """

    block: tuple[str, str] = ("", "")
    item: tuple[str, str] = ("", "")
    joint: str = "\n"
    keys: tuple[str, str] = ("name", "arguments")
    id_key: str | None = None
    id_first: bool = False
    bare: bool = False
    more_starts: tuple[str, ...] = ()
    more_ends: tuple[str, ...] = ()
    _opens: tuple[str, ...] = field(init=False, repr=False)
    _closes: tuple[str, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        opens = (_mark(self.block[0]), _mark(self.item[0]), *self.more_starts)
        closes = (_mark(self.item[1]), _mark(self.block[1]), *self.more_ends)
        object.__setattr__(self, "_opens", tuple(dict.fromkeys(filter(None, opens))))
        object.__setattr__(self, "_closes", tuple(dict.fromkeys(filter(None, closes))))

    def starts(self, names: Sequence[str] | None) -> tuple[str, ...]:
        """Return the marks before calls."""
        return (*self._opens, "{", "[") if self.bare else self._opens

    def render(self, calls: Sequence[ToolCall]) -> str:
        """Return the objects between their marks."""
        items = (f"{self.item[0]}{to_json(self._form(call))}{self.item[1]}" for call in calls)
        return f"{self.block[0]}{self.joint.join(items)}{self.block[1]}"

    def _form(self, call: ToolCall) -> dict[str, Any]:
        identity = {} if self.id_key is None or call.id is None else {self.id_key: call.id}
        first, last = (identity, {}) if self.id_first else ({}, identity)
        return {**first, self.keys[0]: call.name, self.keys[1]: arguments_of(call), **last}

    def read(self, scanner: Scanner, calls: Calls) -> Steps[None]:
        """Read objects as long as marks, commas or bare brackets begin more of them."""
        yield from self._enter(scanner)
        while True:
            yield from self.read_object(scanner, calls)
            if not (yield from self._another(scanner)):
                return

    def _enter(self, scanner: Scanner) -> Steps[None]:
        """Pass over the marks before an object."""
        while (yield from scanner.match(*self._opens, "[")):
            yield from scanner.space()

    def _another(self, scanner: Scanner) -> Steps[bool]:
        """Pass over what closes an object; return whether another one begins."""
        while True:
            end = scanner.at
            yield from scanner.space()
            begin = scanner.at
            sign = yield from scanner.match(*self._closes, *self._opens, ",", ";", "]", "{")
            if sign in self._opens:
                scanner.mark = begin
                yield from scanner.space()
                yield from self._enter(scanner)
                return True
            if sign in (",", ";"):
                yield from scanner.space()
                sign = "{" if (yield from scanner.peek()) == "{" else ""
            elif sign == "{":
                scanner.at = begin
            if sign == "{":
                scanner.mark = begin
                return True
            if not sign:
                scanner.at = end
                return False

    def read_object(self, scanner: Scanner, calls: Calls) -> Steps[None]:
        """Read one call."""
        said = _Object()
        yield from self._fields(scanner, calls, said)
        if said.name is None:
            raise MalformedCall("the object names no function")
        if not said.started:
            yield from self._begin(said, calls)
            yield calls.piece(said.arguments or "{}")
        yield calls.end(as_object(said.arguments or "{}"), said.id)

    def _fields(self, scanner: Scanner, calls: Calls, said: _Object) -> Steps[None]:
        yield from scanner.expect("{")
        yield from scanner.space()
        if (yield from scanner.match("}")):
            return
        while True:
            key = yield from json_string(scanner)
            yield from scanner.space()
            yield from scanner.expect(":")
            yield from scanner.space()
            yield from self._field(key, scanner, calls, said)
            yield from scanner.space()
            if (yield from scanner.expect(",", "}")) == "}":
                return
            yield from scanner.space()

    def _field(self, key: str, scanner: Scanner, calls: Calls, said: _Object) -> Steps[None]:
        sign = yield from scanner.peek()
        if key == "function" and sign == "{":
            yield from self._fields(scanner, calls, said)
        elif key in (self.keys[0], *_NAMES) and sign == '"' and said.name is None:
            said.name = yield from json_string(scanner)
        elif key in (self.id_key, *_IDS) and sign == '"':
            said.id = yield from json_string(scanner)
        elif key in (self.keys[1], *_ARGUMENTS) and said.arguments is None:
            yield from self._arguments(sign, scanner, calls, said)
        else:
            yield from json_value(scanner)

    def _arguments(self, sign: str, scanner: Scanner, calls: Calls, said: _Object) -> Steps[None]:
        if sign == "{" and said.name is not None:
            yield from self._begin(said, calls)
            said.arguments = yield from json_value(scanner, calls.piece)
        elif sign == '"':
            # JSON that was written as a string.
            said.arguments = yield from json_string(scanner)
        else:
            text = yield from json_value(scanner)
            said.arguments = "{}" if text == "null" else text

    def _begin(self, said: _Object, calls: Calls) -> Steps[None]:
        assert said.name is not None
        if self.where == "reply" and not calls.offers(said.name):
            raise MalformedCall(f"no tool is called {said.name!r}")
        said.started = True
        yield calls.start(said.name, said.id)


def _mark(text: str) -> str:
    """Return a rendered text around JSON without its white space and bracket."""
    return text.strip().removesuffix("[").removeprefix("]").strip()
