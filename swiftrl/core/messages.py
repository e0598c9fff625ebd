"""Conversations: the one form in which chat data travels through the package."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["MEDIA_KINDS", "Conversation", "Message", "Part", "Role", "ToolCall", "text_of"]

Role = Literal["system", "user", "assistant", "tool"]
MEDIA_KINDS = ("image", "video", "audio")


@dataclass(frozen=True, slots=True)
class Part:
    """One piece of a message's content.

    Attributes:
        kind: "text", "image", "video" or "audio".
        text: the text of a "text" part, else None.
        source: for media, a path, an https URL, a data: URI or raw bytes; else None.
    """

    kind: Literal["text", "image", "video", "audio"]
    text: str | None = None
    source: str | bytes | None = None


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A function call made by the assistant; `arguments` is parsed JSON where it parses."""

    name: str
    arguments: dict[str, Any] | str
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """One turn.

    Attributes:
        role: system, user, assistant or tool.
        content: plain text, or parts where media are involved.
        reasoning_content: the assistant's thoughts, apart from its answer; None if there are none.
        tool_calls: calls the assistant makes in this turn.
        name: of the tool that answers, or of a participant.
        tool_call_id: which call a tool message answers.
        loss: True or False overrides whether this assistant turn trains; None leaves it to the run.
        loss_scale: weight of this turn's tokens in the loss; None means 1.
    """

    role: Role
    content: str | tuple[Part, ...] = ""
    reasoning_content: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    name: str | None = None
    tool_call_id: str | None = None
    loss: bool | None = None
    loss_scale: float | None = None


@dataclass(frozen=True, slots=True)
class Conversation:
    """Messages in order, with the tools (JSON schemas) on offer."""

    messages: tuple[Message, ...]
    tools: tuple[dict[str, Any], ...] = field(default=())


def text_of(message: Message) -> str:
    """Return the text of a message's content, media left out."""
    if isinstance(message.content, str):
        return message.content
    return "".join(part.text or "" for part in message.content)
