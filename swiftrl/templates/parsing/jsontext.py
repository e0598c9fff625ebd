"""JSON in a text that arrives in pieces: values are passed over by their brackets and quotes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

from swiftrl.templates.parsing.events import Event
from swiftrl.templates.parsing.scanner import MalformedCall, Scanner, Steps

__all__ = ["json_string", "json_value"]

_OUTSIDE = re.compile(r'["{}\[\]]')
_INSIDE = re.compile(r'["\\]')
_SCALAR_END = re.compile(r"[,}\]\s]")


def json_value(scanner: Scanner, emit: Callable[[str], Event] | None = None) -> Steps[str]:
    """Pass over one JSON value and return its text.

    Args:
        scanner: stands at its first character.
        emit: makes an event of each piece of it.

    Raises:
        MalformedCall: no value stands here, or it does not end.
    """
    begin = given = scanner.at
    first = yield from scanner.peek()
    if first not in ("{", "[", '"'):
        return (yield from _scalar(scanner, emit))
    track = _Brackets()
    while True:
        end = track.advance(scanner.text, scanner.at)
        scanner.at = len(scanner.text) if end is None else end
        if emit is not None and scanner.at > given:
            yield emit(scanner.text[given : scanner.at])
            given = scanner.at
        if end is not None:
            return scanner.text[begin:end]
        yield from scanner.more()


def json_string(scanner: Scanner) -> Steps[str]:
    """Pass over a JSON string and return what it says.

    Raises:
        MalformedCall: none stands here.
    """
    if (yield from scanner.peek()) != '"':
        raise MalformedCall('expected "')
    text = yield from json_value(scanner)
    try:
        return json.loads(text, strict=False)
    except ValueError:
        raise MalformedCall("a string has a bad escape") from None


def _scalar(scanner: Scanner, emit: Callable[[str], Event] | None) -> Steps[str]:
    begin = scanner.at
    while True:
        found = _SCALAR_END.search(scanner.text, scanner.at)
        if found is not None:
            scanner.at = found.start()
            break
        scanner.at = len(scanner.text)
        if scanner.closed:
            break
        yield None
    text = scanner.text[begin : scanner.at]
    try:
        json.loads(text)
    except ValueError:
        raise MalformedCall("expected a JSON value") from None
    if emit is not None:
        yield emit(text)
    return text


class _Brackets:
    """Where in a JSON value a scan stands."""

    def __init__(self) -> None:
        self._depth = 0
        self._quoted = self._escaped = False

    def advance(self, text: str, at: int) -> int | None:
        """Scan on from `at`; return the end of the value, None where it goes on."""
        while at < len(text):
            if self._escaped:
                self._escaped, at = False, at + 1
                continue
            found = (_INSIDE if self._quoted else _OUTSIDE).search(text, at)
            if found is None:
                return None
            at = found.end()
            self._take(found[0])
            if not self._depth and not self._quoted:
                return at
        return None

    def _take(self, sign: str) -> None:
        if sign == "\\":
            self._escaped = True
        elif sign == '"':
            self._quoted = not self._quoted
        else:
            self._depth += 1 if sign in "{[" else -1
