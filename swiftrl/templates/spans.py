"""Spans of what the assistant wrote, and whether a text shows in them what was said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from swiftrl.core.errors import TemplateError
from swiftrl.templates.slots import Render, Slots, content_texts, says_nothing

__all__ = [
    "Rendered",
    "Span",
    "holds_others",
    "lost_leaves",
    "shown",
    "text_through",
    "verify",
    "verify_rest",
]


@dataclass(frozen=True, slots=True)
class Span:
    """What the assistant wrote in one turn, terminator included.

    Attributes:
        message: index of the message.
        start: first character.
        end: one past the last character.
        prompt: text of the prompt that inference would put before the turn.
        by_prefix: found between two prefixes; else by slots.
        lost: which of the message's "content", "reasoning_content" and "tool_calls" the span does
            not show.
    """

    message: int
    start: int
    end: int
    prompt: str
    by_prefix: bool
    lost: tuple[str, ...] = ()

    @property
    def lost_speech(self) -> tuple[str, ...]:
        """What is lost besides thoughts."""
        return tuple(name for name in self.lost if name != "reasoning_content")


@dataclass(frozen=True, slots=True)
class Rendered:
    """A conversation's text and its assistant spans in order.

    Attributes:
        text: all of it.
        spans: of the turns that were asked for and are shown.
        hidden: those turns among the earlier ones that the text does not show as they were said.
    """

    text: str
    spans: tuple[Span, ...]
    hidden: tuple[int, ...] = ()


def text_through(render: Render, messages: Sequence[Mapping[str, Any]]) -> str:
    """Return the text of messages, or an empty string where the template refuses them."""
    try:
        return render(messages, False)
    except TemplateError:
        return ""


def lost_leaves(
    render: Render,
    history: Sequence[Mapping[str, Any]],
    text: str,
    span: Span,
    slots: Slots,
) -> tuple[str, ...]:
    """Return which leaves of the turn that `history` ends with its span does not show."""
    message, written = history[-1], text[span.start : span.end]
    lost = []
    for name in ("content", "reasoning_content"):
        leaves = [leaf.strip() for leaf in content_texts(message.get(name))]
        missing = [leaf for leaf in leaves if leaf and not _overlaps(leaf, text, span)]
        if not missing:
            continue
        # A template may trim lines or escape characters: then the leaf's slot tells. But what it
        # shows in full where the turn is the last, it has cut here.
        trimmed = slots.inside(span.message, name, span.start, span.end)
        last = text_through(render, history) if trimmed and not span.by_prefix else ""
        if not trimmed or all(leaf in last for leaf in missing):
            lost.append(name)
    names = [call["function"]["name"] for call in message.get("tool_calls") or ()]
    if any(called not in written for called in names):
        lost.append("tool_calls")
    return tuple(lost)


def _overlaps(leaf: str, text: str, span: Span) -> bool:
    """Return whether a leaf stands in a span; its beginning may stand in the prompt already."""
    return leaf in text[max(0, span.start - len(leaf) + 1) : span.end]


def holds_others(messages: Sequence[Mapping[str, Any]], span: Span, slots: Slots) -> bool:
    """Return whether a turn's span holds what the messages behind it say: a tool's result, say."""
    for index in range(span.message + 1, len(messages)):
        if messages[index]["role"] == "assistant":
            return False
        if any(span.start <= slot.start < slot.end <= span.end for slot in slots.of(index)):
            return True
    return False


def shown(span: Span | None, index: int) -> Span:
    """Return the span of the last message.

    Raises:
        TemplateError: the template does not show it, or not all of it.
    """
    if span is None:
        raise TemplateError(
            f"message {index} (assistant) does not appear in the text that the chat template "
            "writes, so it cannot be trained on."
        )
    for name in span.lost_speech[:1]:
        raise TemplateError(
            f"the chat template drops the {name.replace('_', ' ')} of message {index} (assistant); "
            "it cannot be trained on as it stands."
        )
    return span


def verify(messages: Sequence[Mapping[str, Any]], text: str, spans: Sequence[Span]) -> None:
    """Refuse spans that are empty or overlap.

    Raises:
        TemplateError: they do.
    """
    previous = 0
    for span in spans:
        if not previous <= span.start < span.end <= len(text):
            if says_nothing(messages[span.message]):
                raise TemplateError(
                    f"message {span.message} (assistant) is empty and the chat template writes "
                    "nothing behind it, so there is nothing to train on; remove it."
                )
            raise TemplateError(
                f"message {span.message} (assistant) covers no text of its own in what the chat "
                "template writes, so it cannot be trained on."
            )
        previous = span.end


def verify_rest(
    messages: Sequence[Mapping[str, Any]], text: str, wanted: set[int], slots: Slots
) -> None:
    """Refuse a conversation of which the template leaves out a message.

    Raises:
        TemplateError: it does.
    """
    for index, message in enumerate(messages):
        if index in wanted or message["role"] == "assistant":
            continue  # a template may rewrite what the assistant said earlier
        said = [part.strip() for part in content_texts(message.get("content"))]
        if any(part and part not in text for part in said) and slots.drops(index):
            raise TemplateError(
                f"the chat template leaves out message {index} ({message['role']}); remove it, or "
                "choose another --template."
            )
