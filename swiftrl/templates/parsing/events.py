"""What a stream parser reports while a reply grows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from swiftrl.core.messages import ToolCall

__all__ = [
    "CallBroken",
    "CallDelta",
    "CallEnd",
    "CallStart",
    "ContentDelta",
    "Event",
    "ReasoningDelta",
]


@dataclass(frozen=True, slots=True)
class ContentDelta:
    """More of the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    """More of the thoughts."""

    text: str


@dataclass(frozen=True, slots=True)
class CallStart:
    """A tool call has begun.

    Attributes:
        index: of the call in the reply, from 0.
        name: of the function.
        id: the call's, where the syntax writes it before the arguments; else None.
    """

    index: int
    name: str
    id: str | None = None


@dataclass(frozen=True, slots=True)
class CallDelta:
    """More of a call's arguments: pieces of one JSON object's text."""

    index: int
    text: str


@dataclass(frozen=True, slots=True)
class CallEnd:
    """A call is complete; `call` holds the arguments parsed, and the id if there is one."""

    index: int
    call: ToolCall


@dataclass(frozen=True, slots=True)
class CallBroken:
    """What looked like a call is none, or is cut off.

    Attributes:
        index: of a call that was reported as begun, else None.
        text: all that the model wrote for it; it belongs to the content.
        reason: what is wrong with it.
    """

    index: int | None
    text: str
    reason: str


Event: TypeAlias = ContentDelta | ReasoningDelta | CallStart | CallDelta | CallEnd | CallBroken
