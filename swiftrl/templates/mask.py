"""Which characters of a rendered conversation the assistant wrote.

Two ways lead to a turn's span. Where the rendering up to the turn (with the generation prompt) and
the rendering through the turn are both prefixes of the whole text, the span lies between them.
Elsewhere - the template rewrites history, ignores the generation prompt or drops earlier thoughts -
the turn's leaves (content, thoughts, call names and arguments) are replaced by a sentinel one at a
time, which locates their slots exactly; the turn's header and terminator are then sought only in
the gaps between slots, where nothing that a person typed can stand.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from swiftrl.core.errors import TemplateError
from swiftrl.templates.probe import Probe
from swiftrl.templates.slots import Render, Slots
from swiftrl.templates.spans import (
    Rendered,
    Span,
    holds_others,
    lost_leaves,
    shown,
    text_through,
    verify,
    verify_rest,
)

__all__ = ["locate"]

_UNIT = re.compile(r"<[^<>]*>|\[[^\[\]]*\]|\s+|[^<\[\s]+|.")


def locate(
    render: Render,
    messages: Sequence[Mapping[str, Any]],
    probe: Probe,
    *,
    wanted: Sequence[int],
    stop_texts: Sequence[str] = (),
    by_slots: bool = False,
) -> Rendered:
    """Render `messages` and find the spans of the assistant turns `wanted`.

    Args:
        render: (messages, add_generation_prompt) -> text.
        messages: in the template's forms.
        probe: what the template does.
        wanted: indices of assistant messages, ascending.
        stop_texts: tokens that end generation.
        by_slots: use slots even where prefixes hold (for checking one against the other).

    Raises:
        TemplateError: a turn cannot be found in the text.
    """
    text = render(messages, False)
    ends = tuple(dict.fromkeys((*probe.terminators, *(stop for stop in stop_texts if stop))))
    slots = Slots(render, messages, text)
    spans: list[Span] = []
    hidden: list[int] = []
    for index in wanted:
        prompt = _prompt(render, messages[:index])
        span = None if by_slots else _by_prefix(render, messages, text, index, prompt)
        if span is None:
            span = _by_slots(text, probe, slots, index, prompt, ends)
        if span is not None:
            span = _close(text, replace(span, end=min(span.end, _own_end(text, probe))), ends)
            span = replace(span, lost=lost_leaves(render, messages[: index + 1], text, span, slots))
        if index + 1 < len(messages) and not _as_said(messages, span, slots):
            hidden.append(index)  # a rewritten history: it may be shown where the text ends with it
            continue
        spans.append(shown(span, index))
    verify(messages, text, spans)
    verify_rest(messages, text, set(wanted), slots)
    return Rendered(text, tuple(spans), tuple(hidden))


def _as_said(messages: Sequence[Mapping[str, Any]], span: Span | None, slots: Slots) -> bool:
    if span is None or span.lost_speech:
        return False
    return span.by_prefix or not holds_others(messages, span, slots)


def _prompt(render: Render, history: Sequence[Mapping[str, Any]]) -> str:
    if not history:
        return ""
    try:
        return render(history, True)
    except TemplateError:
        return ""  # e.g. two assistant turns in a row; slots find the second


def _by_prefix(
    render: Render,
    messages: Sequence[Mapping[str, Any]],
    text: str,
    index: int,
    prompt: str,
) -> Span | None:
    if not prompt or not text.startswith(prompt):
        return None
    through = text if index + 1 == len(messages) else text_through(render, messages[: index + 1])
    if not text.startswith(through) or len(through) < len(prompt):
        return None
    return Span(index, len(prompt), len(through), prompt, by_prefix=True)


def _by_slots(
    text: str,
    probe: Probe,
    slots: Slots,
    index: int,
    prompt: str,
    ends: tuple[str, ...],
) -> Span | None:
    own = slots.of(index)
    if not own:
        return None
    first, last = own[0].start, max(slot.end for slot in own)
    before, after = slots.gaps(index, first, last)
    own_end = _own_end(text, probe)
    after = min(after, own_end)
    start = before + _header_end(text[before:first], probe, prompt)
    if start < len(prompt) < last and text.startswith(prompt):
        start = len(prompt)  # the prompt opens what the message opens with: its thoughts
    end = _terminator_end(text, last, after, ends)
    if end is None and after < own_end:
        tail = slots.tail(index)
        end = last + _shared_units(tail[: _own_end(tail, probe)], text[last:after])
    end = after if end is None else end
    return Span(index, start, end, prompt, by_prefix=False)


def _header_end(gap: str, probe: Probe, prompt: str) -> int:
    """Return where, in the gap before a turn's first leaf, the assistant began to write."""
    # Where a template ignores the generation prompt, the assistant writes its own header.
    own_header = bool(prompt) and probe.prompt_opens_reply and not probe.generation_prompt
    for end in range(len(gap), -1 if own_header else 0, -1):
        if prompt.endswith(gap[:end]) and (own_header or gap[:end].strip()):
            return end
    for header in (probe.generation_prompt, probe.header):
        units = _UNIT.findall(header)
        for count in range(len(units), 0, -1):
            opening = "".join(units[:count])
            if not opening.strip():
                break
            at = gap.rfind(opening)
            if at >= 0:
                return at + len(opening)
    return len(gap)


def _terminator_end(text: str, last: int, after: int, ends: tuple[str, ...]) -> int | None:
    """Return where, in the gap after a turn's last leaf, its terminator ends; None if it lacks."""
    found = [(text.find(end, last, after), -len(end)) for end in ends]
    found = [(at, length) for at, length in found if at >= 0]
    if not found:
        return None
    at, length = min(found)
    return at - length


def _shared_units(tail: str, gap: str) -> int:
    """Return the length of the whole control tokens and words that both strings begin with."""
    length = 0
    for mine, other in zip(_UNIT.findall(tail), _UNIT.findall(gap), strict=False):
        if mine != other:
            break
        length += len(mine)
    return length


def _own_end(text: str, probe: Probe) -> int:
    """Return where the conversation ends in a text that goes on unasked."""
    bare = text.rstrip()
    if probe.appendix and bare.endswith(probe.appendix):
        return len(bare) - len(probe.appendix)
    return len(text)


def _close(text: str, span: Span, ends: tuple[str, ...]) -> Span:
    """Strip white space after the terminator, and take in a stop token that follows."""
    written = text[span.start : span.end].rstrip()
    end = span.start + len(written)
    if not written.endswith(ends):
        following = [stop for stop in ends if text.startswith(stop, span.end)]
        if following:
            end = span.end + len(max(following, key=len))
    return replace(span, end=end)
