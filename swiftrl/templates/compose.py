"""A rendered conversation as segments of text that train or do not."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from swiftrl.core.errors import TemplateError
from swiftrl.templates.guard import MARK
from swiftrl.templates.spans import Rendered, Span

__all__ = ["Segment", "Turn", "compose"]

_OPENED = re.compile(r"(?P<open><(?P<tag>[^<>/\s][^<>\s]*)>|\[(?P<word>[A-Z]+)\])\s*\Z")


@dataclass(frozen=True, slots=True)
class Segment:
    """Text whose tokens have one weight in the loss."""

    text: str
    weight: float

    def pieces(self) -> list[str]:
        """Return the parts between the marks that break control tokens."""
        return [text for text in self.text.split(MARK) if text]


@dataclass(frozen=True, slots=True)
class Turn:
    """An assistant turn that is to train.

    Attributes:
        form: the message in the template's form.
        thoughts: the assistant's thoughts, whatever the template does with them.
        weight: of its tokens in the loss.
    """

    form: Mapping[str, Any]
    thoughts: str
    weight: float


def compose(
    rendered: Rendered,
    turns: Sequence[Turn],
    *,
    final_from: int,
    markers: tuple[str, str] | None,
    response_prefix: str,
) -> tuple[list[Segment], tuple[int, ...]]:
    """Cut a rendered conversation into segments.

    A turn trains as it stands where what precedes it is the prompt that inference would give and
    its thoughts are shown. Elsewhere it is left untrained, unless it is in the last round: then it
    is put behind that prompt.

    Args:
        rendered: the text and the turns' spans.
        turns: the turns, in the order of the spans.
        final_from: index of the first message of the last round.
        markers: what the template writes around thoughts, if it shows them.
        response_prefix: given text that every trained turn starts with.

    Returns:
        The segments, and the messages that do not train though they were to. Where no turn trains,
        there are no segments.

    Raises:
        TemplateError: the thoughts of the last message are lost.
    """
    text = rendered.text
    segments: list[Segment] = []
    skipped: list[int] = []
    done = 0
    for span, turn in zip(rendered.spans, turns, strict=True):
        written, before = text[span.start : span.end], text[done : span.start]
        lost = _lost_thoughts(span, turn, written)
        if lost or not _as_inferred(text, span):
            final = span.message >= final_from and span.prompt.startswith(text[:done])
            replaced = _behind_prompt(span, turn, written, lost, markers) if final else None
            if replaced is None and text[span.end :].strip():
                skipped.append(span.message)
                continue
            if replaced is None:
                raise TemplateError(
                    f"the chat template drops the thoughts of message {span.message} (assistant) "
                    "although nothing follows; remove them or switch thinking on."
                )
            before, written = span.prompt[done:], replaced
        segments += _trained(before, written, turn.weight, response_prefix)
        done = span.end
    if segments and text[done:]:
        segments.append(Segment(text[done:], 0.0))
    return segments, tuple(skipped)


def _as_inferred(text: str, span: Span) -> bool:
    return span.by_prefix or not span.prompt or text[: span.start] == span.prompt


def _behind_prompt(
    span: Span, turn: Turn, written: str, lost: bool, markers: tuple[str, str] | None
) -> str | None:
    """Return a reply as the model would write it behind the prompt; None where that is unknown."""
    closing = _closing(span.prompt, markers)
    if closing is not None and closing.strip() not in written:
        return f"{turn.thoughts}{closing}{written}"
    return None if lost else written


def _lost_thoughts(span: Span, turn: Turn, written: str) -> bool:
    bare = turn.thoughts.strip()
    if not bare or bare in written:
        return False
    return turn.form.get("reasoning_content") is None or "reasoning_content" in span.lost


def _closing(prompt: str, markers: tuple[str, str] | None) -> str | None:
    """Return what ends the thoughts that a prompt opens, or None where it opens none."""
    opened = _OPENED.search(prompt)
    if opened is None:
        return None
    if markers is not None and markers[0].strip() == opened["open"]:
        return markers[1]
    if "think" not in opened["open"].lower() and "thought" not in opened["open"].lower():
        return None
    name = f"</{opened['tag']}>" if opened["tag"] else f"[/{opened['word']}]"
    return f"\n{name}\n\n"


def _trained(before: str, written: str, weight: float, prefix: str) -> Iterator[Segment]:
    """Yield what precedes a turn, the given prefix included, and the turn."""
    written = written[len(prefix) :] if prefix and written.startswith(prefix) else written
    if before or prefix:
        yield Segment(before + prefix, 0.0)
    yield Segment(written, weight)
