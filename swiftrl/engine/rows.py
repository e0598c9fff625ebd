"""Conversations as rows of a "messages" data set, and replies as people read them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from swiftrl.core.messages import Message
from swiftrl.templates.parsing.events import (
    CallBroken,
    CallDelta,
    CallEnd,
    CallStart,
    ContentDelta,
    Event,
    ReasoningDelta,
)

__all__ = ["ReplyView", "media_columns", "message_dict", "tagged"]


def message_dict(message: Message) -> dict[str, Any]:
    """Return a message as a row of a "messages" data set holds it, media as tags."""
    row: dict[str, Any] = {"role": message.role, "content": tagged(message)}
    if message.reasoning_content is not None:
        row["reasoning_content"] = message.reasoning_content
    if message.tool_calls:
        row["tool_calls"] = [
            {
                **({} if call.id is None else {"id": call.id}),
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in message.tool_calls
        ]
    for name in ("name", "tool_call_id"):
        if getattr(message, name) is not None:
            row[name] = getattr(message, name)
    return row


def media_columns(messages: Sequence[Message]) -> dict[str, list[str]]:
    """Return the columns (images, videos, audios) of the messages' media that are named by text."""
    columns: dict[str, list[str]] = {}
    for message in messages:
        for part in message.content if not isinstance(message.content, str) else ():
            if isinstance(part.source, str):
                columns.setdefault(f"{part.kind}s", []).append(part.source)
    return columns


def tagged(message: Message) -> str:
    """Return a message's content as text, media as tags."""
    if isinstance(message.content, str):
        return message.content
    return "".join(
        part.text or "" if part.kind == "text" else f"<{part.kind}>" for part in message.content
    )


class ReplyView:
    """Shows a reply while it grows: thoughts and calls set apart from the answer.

    Args:
        write: shows text.
    """

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write
        self._showing: type[Event] | None = None

    def show(self, events: Iterable[Event]) -> None:
        """Show what has become certain."""
        for event in events:
            if isinstance(event, ReasoningDelta):
                self._turn_to(ReasoningDelta, "[thoughts] ")
                self._write(event.text)
            elif isinstance(event, ContentDelta):
                self._turn_to(ContentDelta, "")
                self._write(event.text)
            elif isinstance(event, CallStart):
                self._turn_to(CallStart, f"[call {event.name} ")
            elif isinstance(event, CallDelta):
                self._write(event.text)
            elif isinstance(event, CallEnd):
                self._write("]")
            else:
                self._show_broken(event)

    def _show_broken(self, event: CallBroken) -> None:
        if event.index is not None:
            text = json.dumps(event.text, ensure_ascii=False)
            self._write(f" ...] [not a call: {event.reason}; the text was {text}]")
            return
        self._turn_to(ContentDelta, "")
        self._write(event.text)

    def _turn_to(self, kind: type[Event], heading: str) -> None:
        if self._showing is not None and (kind is CallStart or self._showing is not kind):
            self._write("\n")
        if self._showing is not kind or kind is CallStart:
            self._write(heading)
        self._showing = kind
