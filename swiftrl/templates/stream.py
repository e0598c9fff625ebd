"""A reply taken apart while it grows: thoughts, answer and tool calls.

    parser = StreamParser(syntax, marks, tools)
    for text in pieces:
        for event in parser.feed(text):
            ...
    for event in parser.finish():
        ...
    reply = parser.reply

However the text is cut, the reply is the same, and the events' texts joined are its parts. What
turns out not to be a call, or is cut off, is reported as `CallBroken` and belongs to the answer:
nothing that the model wrote is lost but the marks, and white space next to them. The events are
those of `parsing.events`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from swiftrl.core.messages import Message, ToolCall
from swiftrl.templates.parsing.calls import Calls
from swiftrl.templates.parsing.events import (
    CallBroken,
    CallEnd,
    CallStart,
    ContentDelta,
    Event,
    ReasoningDelta,
)
from swiftrl.templates.parsing.scanner import MalformedCall, Scanner, Steps
from swiftrl.templates.reasoning import Marks
from swiftrl.templates.syntax import ToolSyntax

__all__ = ["Reply", "StreamParser", "parse_reply"]

_LONG = 4096  # characters after which text that is done with is forgotten


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply taken apart.

    Attributes:
        content: the answer, broken calls included.
        reasoning: the thoughts; None if there are none.
        calls: the tool calls.
        broken: what looked like calls.
    """

    content: str
    reasoning: str | None = None
    calls: tuple[ToolCall, ...] = ()
    broken: tuple[CallBroken, ...] = ()

    def message(self) -> Message:
        """Return the assistant's message."""
        return Message(
            "assistant", self.content, reasoning_content=self.reasoning, tool_calls=self.calls
        )


class StreamParser:
    """Takes one reply apart.

    Args:
        syntax: of tool calls; None where the model makes none.
        marks: of thoughts; None where the model shows none.
        tools: JSON schemas on offer: arguments without quotes are typed by them, and an empty
            sequence means that nothing is a call; None where they are unknown.
        thinking: the prompt has opened the thoughts.
    """

    def __init__(
        self,
        syntax: ToolSyntax | None = None,
        marks: Marks | None = None,
        tools: Sequence[Mapping[str, Any]] | None = None,
        *,
        thinking: bool = False,
    ) -> None:
        self._syntax, self._marks = syntax, marks
        self._scanner = Scanner()
        self._calls = Calls(self._scanner, tools)
        self._kinds = _triggers(syntax, marks, self._calls.names)
        self._content: list[str] = []
        self._thoughts: list[str] = []
        self._made: list[ToolCall] = []
        self._broken: list[CallBroken] = []
        # White space is held back until it is known what follows it, next to marks it is dropped.
        self._space = ""
        self._marked = self._in_text = False
        self._steps = self._run(thinking and marks is not None)

    @property
    def marks(self) -> tuple[str, ...]:
        """The texts that are not plain answer, apart from what ends thoughts."""
        return tuple(text for text, kind in self._kinds.items() if kind != "close")

    def feed(self, text: str) -> list[Event]:
        """Take more of the reply, and return what has become certain."""
        if not text:
            return []
        if self._in_text and len(self._scanner.text) > _LONG:
            self._scanner.drop()
        self._scanner.feed(text)
        return self._advance()

    def finish(self) -> list[Event]:
        """Return what remains, the reply being over."""
        self._scanner.closed = True
        return self._advance()

    @property
    def reply(self) -> Reply:
        """The reply so far; whole after `finish`."""
        return Reply(
            "".join(self._content),
            "".join(self._thoughts) if self._thoughts else None,
            tuple(self._made),
            tuple(self._broken),
        )

    def _advance(self) -> list[Event]:
        events = []
        for event in self._steps:
            if event is None:
                break
            if self._keep(event):
                events.append(event)
        return events

    def _keep(self, event: Event) -> bool:
        """Add an event to the reply; return whether it says anything."""
        if isinstance(event, ContentDelta):
            self._content.append(event.text)
        elif isinstance(event, ReasoningDelta):
            self._thoughts.append(event.text)
        elif isinstance(event, CallEnd):
            self._made.append(event.call)
        elif isinstance(event, CallBroken):
            self._broken.append(event)
            self._content.append(event.text)
        return isinstance(event, (CallStart, CallEnd)) or bool(event.text)

    def _run(self, thinking: bool) -> Steps[None]:
        if thinking:
            yield from self._think()
        while trigger := (yield from self._say_until(tuple(self._kinds))):
            kind = self._kinds[trigger]
            if not self._counts(kind):
                event = self._say(trigger)
                if event is not None:
                    yield event
            elif kind == "call":
                yield from self._call(trigger)
            else:
                self._marked = True
                if kind == "open":
                    yield from self._think()
        if self._space and not self._marked:
            yield ContentDelta(self._space)

    def _counts(self, kind: str) -> bool:
        """Return whether a mark means anything where it stands."""
        begun = bool(self._content)
        if kind == "call":
            assert self._syntax is not None
            where = self._syntax.where
            fresh = "\n" in self._space or self._marked
            return not begun or where == "anywhere" or (where == "line" and fresh)
        first = not begun and not self._made
        return kind == "frame" or first or (self._marks is not None and self._marks.anywhere)

    def _say_until(self, triggers: tuple[str, ...]) -> Steps[str]:
        self._in_text = True
        found = yield from self._scanner.stream(triggers, self._say)
        self._in_text = False
        return found

    def _say(self, text: str) -> ContentDelta | None:
        text = self._space + text
        said = text.rstrip()
        self._space = text[len(said) :]
        if not said:
            return None
        if self._marked and not self._content:
            said = said.lstrip()
        self._marked = False
        return ContentDelta(said)

    def _think(self) -> Steps[None]:
        """Read thoughts to their end."""
        assert self._marks is not None
        held, begun = "", False

        def ponder(text: str) -> ReasoningDelta | None:
            nonlocal held, begun
            text = held + text
            said = text.rstrip()
            held = text[len(said) :]
            if not said:
                return None
            if not begun:
                said = ("\n\n" if self._thoughts else "") + said.lstrip()
            begun = True
            return ReasoningDelta(said)

        self._in_text = True
        yield from self._scanner.stream((self._marks.close,), ponder)
        self._in_text = False
        if not begun and not self._thoughts and not self._scanner.exhausted:
            yield ReasoningDelta("")
        self._marked = True

    def _call(self, trigger: str) -> Steps[None]:
        """Read calls; what is none becomes content."""
        assert self._syntax is not None
        scanner = self._scanner
        scanner.at -= len(trigger)
        scanner.mark = scanner.at
        try:
            yield from self._syntax.read(scanner, self._calls)
            self._marked = True
        except (MalformedCall, RecursionError) as error:  # brackets nested beyond all reason
            scanner.at = max(scanner.at, min(scanner.mark + 1, len(scanner.text)))
            text = self._space + scanner.text[scanner.mark : scanner.at]
            text = text.lstrip() if self._marked and not self._content else text
            self._space, self._marked = "", False
            yield CallBroken(self._calls.abandon(), text, str(error))


def parse_reply(
    text: str,
    syntax: ToolSyntax | None = None,
    marks: Marks | None = None,
    tools: Sequence[Mapping[str, Any]] | None = None,
    *,
    thinking: bool = False,
) -> Reply:
    """Take a whole reply apart; see `StreamParser`."""
    parser = StreamParser(syntax, marks, tools, thinking=thinking)
    parser.feed(text)
    parser.finish()
    return parser.reply


def _triggers(
    syntax: ToolSyntax | None, marks: Marks | None, names: Sequence[str] | None
) -> dict[str, str]:
    """Return the texts that are not plain content, with what they mean."""
    kinds: dict[str, str] = {}
    if marks is not None:
        kinds |= dict.fromkeys(marks.frames, "frame")
        kinds |= {marks.close: "frame" if marks.close in marks.frames else "close"}
        kinds[marks.open] = "open"
    if syntax is not None:
        kinds |= dict.fromkeys(syntax.frames, "frame")
        if names is None or names:
            kinds |= dict.fromkeys(syntax.starts(names), "call")
    return kinds
