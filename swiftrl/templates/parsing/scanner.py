"""Reading text that arrives in pieces, by generators that pause where they need more of it.

A grammar is a generator function over a `Scanner`. It yields events, and None where the text so far
does not decide how to go on; the stream parser then waits for more text (or the end) and resumes
it. Since nothing is decided before it is certain, how the text was cut cannot matter.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import TypeAlias, TypeVar

from swiftrl.templates.parsing.events import Event

__all__ = ["MalformedCall", "Scanner", "Steps"]

T = TypeVar("T")
Steps: TypeAlias = Generator[Event | None, None, T]


class MalformedCall(Exception):
    """The text at hand is not a call after all; the stream parser turns it into content."""


class Scanner:
    """A text that grows, and a place in it.

    Attributes:
        text: all of it since the last `drop`.
        at: the place.
        mark: where the construct being read began.
        closed: no more text will come.
    """

    def __init__(self) -> None:
        self.text = ""
        self.at = self.mark = 0
        self.closed = False

    def feed(self, text: str) -> None:
        """Append text."""
        self.text += text

    def drop(self) -> None:
        """Forget what lies before the place."""
        self.text = self.text[self.at :]
        self.at = self.mark = 0

    @property
    def exhausted(self) -> bool:
        """Whether the place is the end of all text."""
        return self.closed and self.at >= len(self.text)

    def more(self) -> Steps[None]:
        """Wait for text behind all that there is.

        Raises:
            MalformedCall: there is none.
        """
        length = len(self.text)
        while len(self.text) == length:
            if self.closed:
                raise MalformedCall("the reply ends inside it")
            yield None

    def peek(self) -> Steps[str]:
        """Return the next character, or an empty string at the end."""
        while self.at >= len(self.text) and not self.closed:
            yield None
        return self.text[self.at : self.at + 1]

    def space(self) -> Steps[str]:
        """Pass over white space and return it."""
        begin = self.at
        while True:
            rest = self.text[self.at :]
            self.at += len(rest) - len(rest.lstrip())
            if self.at < len(self.text) or self.closed:
                return self.text[begin : self.at]
            yield None

    def match(self, *texts: str) -> Steps[str]:
        """Pass over the longest of `texts` that stands here; return it, or an empty string."""
        longest = max(map(len, texts))
        while True:
            window = self.text[self.at : self.at + longest]
            found = max((text for text in texts if window.startswith(text)), key=len, default="")
            open_ = any(len(t) > len(window) and t.startswith(window) for t in texts)
            if not open_ or self.closed:
                self.at += len(found)
                return found
            yield None

    def expect(self, *texts: str) -> Steps[str]:
        """Pass over one of `texts`.

        Raises:
            MalformedCall: none of them stands here.
        """
        found = yield from self.match(*texts)
        if not found and "" not in texts:
            raise MalformedCall(f"expected {' or '.join(map(repr, texts))}")
        return found

    def until(self, *ends: str) -> Steps[tuple[str, str]]:
        """Pass over text up to the first of `ends`, and over that; return both.

        Raises:
            MalformedCall: none of them comes.
        """
        pieces: list[str] = []
        end = yield from self.stream(ends, pieces.append)
        if not end:
            raise MalformedCall(f"expected {' or '.join(map(repr, ends))}")
        return "".join(pieces), end

    def stream(self, ends: Sequence[str], emit: Callable[[str], Event | None]) -> Steps[str]:
        """Pass over text up to the first of `ends`, piece by piece, and over that.

        Args:
            ends: texts that end it; where one could still come out longer, that is awaited.
            emit: makes an event of a piece that is certain, or takes it and returns None.

        Returns:
            The end found; an empty string if all text ended without one.
        """
        while True:
            found, end = _first(self.text, ends, self.at)
            held = len(self.text) if self.closed else _held(self.text, ends, self.at)
            decided = bool(end) and (self.closed or found < held)
            until = found if decided else min(found, held)
            if until > self.at:
                event = emit(self.text[self.at : until])
                self.at = until
                if event is not None:
                    yield event
            if decided:
                self.at += len(end)
                return end
            if self.closed:
                return ""
            yield None


def _first(text: str, ends: Sequence[str], start: int) -> tuple[int, str]:
    """Return where the first of `ends` stands, the longest of several, or the text's length."""
    places = [(text.find(end, start), -len(end), end) for end in ends]
    at, _, end = min((place for place in places if place[0] >= 0), default=(len(text), 0, ""))
    return at, end


def _held(text: str, ends: Sequence[str], start: int) -> int:
    """Return from where on the text may be the beginning of one of `ends`."""
    held = len(text)
    for end in ends:
        for length in range(min(len(end) - 1, len(text) - start), len(text) - held, -1):
            if text.endswith(end[:length]):
                held = len(text) - length
                break
    return held
