"""Where each string of a conversation stands in its rendered text.

A leaf (content, thoughts, a call's name, one argument) is replaced by a sentinel and the text
rendered again: what both texts share before and behind is not the leaf's.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from swiftrl.core.errors import TemplateError
from swiftrl.templates.strings import shared_prefix, shared_suffix

__all__ = ["SENTINEL", "Render", "Slot", "Slots", "content_texts", "says_nothing"]

# Private-use characters of plane 16: no template, tokenizer or filter gives them a meaning.
SENTINEL = "\U0010f5a1\U0010f5a2"

Render = Callable[[Sequence[Mapping[str, Any]], bool], str]


@dataclass(frozen=True, slots=True, order=True)
class Slot:
    """The characters [start, end) that a leaf of kind `name` fills."""

    start: int
    end: int
    name: str


def content_texts(content: Any) -> list[str]:
    """Return the strings of a message's content, plain or in parts."""
    if isinstance(content, str):
        return [content]
    return [part.get("text") or "" for part in content or () if isinstance(part, Mapping)]


def says_nothing(message: Mapping[str, Any]) -> bool:
    """Return whether a message is an assistant's and empty."""
    said = [*content_texts(message.get("content")), message.get("reasoning_content") or ""]
    return message["role"] == "assistant" and not any(said) and not message.get("tool_calls")


class Slots:
    """The slots of each message in `text`, found when first asked for.

    Args:
        render: (messages, add_generation_prompt) -> text.
        messages: in the template's forms.
        text: the messages rendered.
    """

    def __init__(self, render: Render, messages: Sequence[Mapping[str, Any]], text: str) -> None:
        self._render, self._messages, self._text = render, messages, text
        self._found: dict[int, list[Slot]] = {}
        self._matters: set[int] = set()

    def of(self, index: int) -> list[Slot]:
        """Return the slots of message `index`, ascending; leaves that are not shown have none."""
        if index not in self._found:
            slots = (
                self._slot(index, changed, name, leaf)
                for changed, name, leaf in _replaced(self._messages[index])
            )
            self._found[index] = sorted(slot for slot in slots if slot is not None)
        return self._found[index]

    def inside(self, index: int, name: str, start: int, end: int) -> bool:
        """Return whether a leaf `name` of message `index` fills some of [start, end)."""
        return any(
            slot.name == name and start <= slot.start < slot.end <= end for slot in self.of(index)
        )

    def drops(self, index: int) -> bool:
        """Return whether the text is the same whatever message `index` holds."""
        self.of(index)
        return index not in self._matters

    def gaps(self, index: int, first: int, last: int) -> tuple[int, int]:
        """Return where the neighbours of message `index`, from `first` to `last`, end and begin."""
        before, after = 0, len(self._text)
        for other in range(index - 1, -1, -1):
            ends = [slot.end for slot in self.of(other) if slot.end <= first]
            if ends:
                before = max(ends)
                break
        for other in range(index + 1, len(self._messages)):
            starts = [slot.start for slot in self.of(other) if slot.start >= last]
            if starts:
                after = min(starts)
                break
        return before, after

    def tail(self, index: int) -> str:
        """Return what the template writes behind message `index` when that ends the text."""
        shorter = self._messages[: index + 1]
        try:
            through = self._render(shorter, False)
        except TemplateError:
            return ""
        slots = Slots(self._render, shorter, through).of(index)
        return through[max(slot.end for slot in slots) :] if slots else ""

    def _slot(self, index: int, changed: dict[str, Any], name: str, leaf: Any) -> Slot | None:
        messages = [*self._messages[:index], changed, *self._messages[index + 1 :]]
        try:
            other = self._render(messages, False)
        except TemplateError:
            self._matters.add(index)  # it reads the leaf, a tool's JSON result for example
            return None
        if other != self._text:
            self._matters.add(index)
        if SENTINEL not in other:
            return None
        text = self._text
        start = shared_prefix(text, other)
        suffix = shared_suffix(text, other)
        end = len(text) - min(suffix, len(text) - start)
        # Where the sentinel changed more than its own place, the leaf itself says where it is.
        for shown in (leaf, leaf.strip()) if isinstance(leaf, str) and leaf.strip() else ():
            at = text.find(shown, start, end)
            if at == start or (at >= 0 and text.find(shown, at + 1, end) < 0):
                return Slot(at, at + len(shown), name)
        return Slot(start, end, name)


def _replaced(message: Mapping[str, Any]) -> Iterator[tuple[dict[str, Any], str, Any]]:
    """Yield the message with one leaf replaced by the sentinel, the leaf's name and the leaf.

    Empty leaves are left out, but for the content of a reply that is nothing else.
    """
    empty = says_nothing(message)
    for name in ("content", "reasoning_content"):
        leaf = message.get(name)
        if isinstance(leaf, str) and (leaf or (empty and name == "content")):
            yield {**message, name: SENTINEL}, name, leaf
    if isinstance(message.get("content"), list):
        for number, part in enumerate(message["content"]):
            if isinstance(part, Mapping) and "text" in part and (part["text"] or empty):
                changed = copy.deepcopy(dict(message))
                changed["content"][number]["text"] = SENTINEL
                yield changed, "content", part["text"]
    for number, call in enumerate(message.get("tool_calls") or ()):
        for path, leaf in _leaves(call["function"], ()):
            changed = copy.deepcopy(dict(message))
            target = changed["tool_calls"][number]["function"]
            for step in path[:-1]:
                target = target[step]
            target[path[-1]] = SENTINEL
            yield changed, "tool_calls", leaf


def _leaves(value: Any, path: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], Any]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(item, (*path, key))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _leaves(item, (*path, number))
    else:
        yield path, value
