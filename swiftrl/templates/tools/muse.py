"""Muse: each call in a message to the function, as invoke and parameter tags."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from swiftrl.templates.parsing.calls import Calls
from swiftrl.templates.parsing.scanner import Scanner, Steps
from swiftrl.templates.parsing.tagged_calls import TaggedCalls

_HEADER, _END = "<|start|>assistant", "<|message|>"


@dataclass(frozen=True, kw_only=True)
class MessageCalls(TaggedCalls):
    """Tagged calls behind headers that name the recipient."""

    def starts(self, names: Sequence[str] | None) -> tuple[str, ...]:
        """Return the headers of messages to tools, and the block's mark."""
        own = (f" to={name}{_END}" for name in names or ())
        return (self.block[0].strip(), f"{_HEADER} to=", *own)

    def read(self, scanner: Scanner, calls: Calls) -> Steps[None]:
        """Read the calls of one message."""
        yield from scanner.match(_HEADER)
        if (yield from scanner.match(" to=")):
            yield from scanner.until(_END)
        yield from super().read(scanner, calls)


SYNTAX = MessageCalls(
    block=("<atem:function_calls>\n", "\n</atem:function_calls>"),
    call=('<atem:invoke name="', '">\n', "</atem:invoke>"),
    argument=('<atem:parameter name="', '">', "</atem:parameter>"),
    frames=(f"{_HEADER} to=user{_END}", f" to=user{_END}", "<|eom|>", "<|eot|>"),
    marks="muse",
)
