"""What one chat template wants and does, found by trying it once when a model is loaded."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from swiftrl.core.errors import TemplateError
from swiftrl.core.messages import Message
from swiftrl.templates.convert import Forms
from swiftrl.templates.render import ChatRenderer
from swiftrl.templates.strings import shared_prefix, shared_suffix
from swiftrl.templates.trial import ANSWER, ASK, TOOL, ToolUse, Trial, try_tools

__all__ = ["Probe", "control_units", "probe_template"]

# Words that no template writes and that Jinja's filters, JSON and HTML leave alone.
_SYSTEM, _ASK2, _ANSWER2, _THOUGHT = "qsystemq", "qsecondq", "qfinishq", "qthoughtq"
_TERMINATOR_WORDS = 3  # at most, where a template writes a reply's end
_CONTROL = re.compile(r"<[^<>\n]{1,60}>|\[/?[A-Za-z_]+\]|\[\|[^|\s]{1,40}\|\]")


@dataclass(frozen=True, slots=True)
class Probe:
    """The findings.

    Attributes:
        forms: in which forms content, arguments, thoughts and system messages are taken.
        generation_prompt: text that `add_generation_prompt` adds after a user turn.
        header: text between the end of a first user turn's content and what the model writes.
        prompt_opens_reply: the text of a question and its reply starts with the question's
            generation prompt; elsewhere the two differ (thoughts are opened only for inference).
        terminators: texts that end an assistant turn: last in the text, and before another turn.
        ends_open: the last assistant turn is rendered without any terminator.
        tools: what reaches the text of tools, calls and results.
        thought_markers: text around thoughts given as `reasoning_content`, or None.
        keeps_thoughts: earlier turns keep their thoughts.
        prompts_only: the template writes no final reply.
        appendix: text behind a final reply and its end that no reply holds: the next turn's header
            though none was asked for, or instructions.
        refusal: why the template cannot be trained or prompted with; empty where it can.
    """

    forms: Forms = field(default_factory=Forms)
    generation_prompt: str = ""
    header: str = ""
    prompt_opens_reply: bool = False
    terminators: tuple[str, ...] = ()
    ends_open: bool = True
    tools: ToolUse = field(default_factory=ToolUse)
    thought_markers: tuple[str, str] | None = None
    keeps_thoughts: bool = True
    prompts_only: bool = False
    appendix: str = ""
    refusal: str = ""


def probe_template(renderer: ChatRenderer, stop_texts: Sequence[str] = ()) -> Probe:
    """Try a template with a few short conversations.

    Args:
        renderer: the template.
        stop_texts: tokens at which generation stops, such as the tokenizer's EOS.
    """
    try:
        trial, forms = _content_forms(renderer)
    except TemplateError as error:
        return Probe(refusal=str(error))
    forms = replace(forms, system=_system_form(trial, forms))
    forms, markers, keeps = _reasoning(trial, forms)
    forms, tools = try_tools(trial, forms)

    user, reply = Message("user", ASK), Message("assistant", ANSWER)
    once = trial.render(forms, user, reply)
    asked, prompted = trial.render(forms, user), trial.render(forms, user, prompt=True)
    added = prompted[len(asked) :] if prompted.startswith(asked) else ""
    gap = _between(once, ASK, ANSWER)
    opens = bool(prompted) and once.startswith(prompted)
    header = prompted[prompted.find(ASK) + len(ASK) :] if opens else gap
    last = once[once.rfind(ANSWER) + len(ANSWER) :]
    middle = _between(trial.render(forms, user, reply, Message("user", _ASK2)), ANSWER, _ASK2)
    opening = once[: once.find(ASK)]
    prompt = prompted[prompted.find(ASK) + len(ASK) :]
    ending = _last_terminator(last, middle, gap, prompt, opening)
    terminators = [ending, _middle_terminator(last, gap, middle, opening, stop_texts)]
    return Probe(
        forms=forms,
        generation_prompt=added,
        header=header,
        prompt_opens_reply=opens,
        terminators=tuple(dict.fromkeys(filter(None, terminators))),
        ends_open=not last.strip(),
        tools=tools,
        thought_markers=markers,
        keeps_thoughts=keeps,
        prompts_only=trial.prompts_only,
        appendix=last.strip()[len(ending) :].strip(),
    )


def control_units(text: str) -> list[str]:
    """Return the control tokens that `text` seems to hold, by their looks."""
    return _CONTROL.findall(text)


def _between(text: str, before: str, after: str) -> str:
    start, end = text.find(before), text.find(after)
    return text[start + len(before) : end] if 0 <= start < end else ""


def _unit_start(text: str, index: int) -> int:
    """Return where the control token around `index` begins, or `index` where none stands there."""
    for unit in _CONTROL.finditer(text):
        if unit.start() < index < unit.end():
            return unit.start()
    return index


def _content_forms(renderer: ChatRenderer) -> tuple[Trial, Forms]:
    """Find out in which form content is taken, and what must be there besides.

    Raises:
        TemplateError: no form of a plain question and answer reaches the text.
    """
    everyone = frozenset({"system", "user", "assistant", "tool"})
    choices = (frozenset(), everyone, frozenset({"user"}), frozenset({"user", "assistant"}))
    system = (Message("system", _SYSTEM),)
    preambles = (((), ()), (system, ()), ((), (TOOL,)), (system, (TOOL,)))
    for preamble, tools in preambles:
        trial = Trial(renderer, preamble, tools)
        for part_roles in choices:
            forms = Forms(part_roles=part_roles)
            text = trial.render(forms, Message("user", ASK), Message("assistant", ANSWER))
            if ASK in text and ANSWER in text:
                return trial, forms
    trial = Trial(renderer, prompts_only=True)
    turns = (Message("user", ASK), Message("assistant", ANSWER), Message("user", _ASK2))
    if all(word in trial.render(Forms(), *turns) for word in (ASK, ANSWER, _ASK2)):
        return trial, Forms()
    plain = [{"role": "user", "content": ASK}, {"role": "assistant", "content": ANSWER}]
    try:
        renderer.render(plain)
        reason = "what was said does not appear in the text"
    except TemplateError as error:
        reason = str(error)
    raise TemplateError(
        f"{renderer.name} cannot render a question and its answer: {reason}. "
        "Choose another with --template."
    )


def _system_form(trial: Trial, forms: Forms) -> Any:
    turns = (Message("user", ASK), Message("assistant", ANSWER))
    if not trial.preamble:
        turns = (Message("system", _SYSTEM), *turns)
    return "message" if _SYSTEM in trial.render(forms, *turns) else "merged"


def _reasoning(trial: Trial, forms: Forms) -> tuple[Forms, tuple[str, str] | None, bool]:
    """Find out whether `reasoning_content` is read, what surrounds it, and whether it stays."""
    field = replace(forms, reasoning="field")
    user = Message("user", ASK)
    thoughtful = Message("assistant", ANSWER, reasoning_content=_THOUGHT)
    text = trial.render(field, user, thoughtful)
    if _THOUGHT not in text or text.find(_THOUGHT) > text.find(ANSWER):
        shown = _THOUGHT in trial.render(forms, user, thoughtful)
        return (forms if shown else replace(forms, reasoning="dropped")), None, True
    before = text[: text.find(_THOUGHT)]
    units = list(_CONTROL.finditer(before, before.find(ASK) + len(ASK)))
    bare = trial.render(field, user, Message("assistant", ANSWER))
    start = min(
        _unit_start(before, shared_prefix(before, bare)),
        units[-1].start() if units else len(before),
    )
    later = Message("assistant", _ANSWER2, reasoning_content="x")
    longer = trial.render(field, user, thoughtful, Message("user", _ASK2), later)
    return field, (before[start:], _between(text, _THOUGHT, ANSWER)), _THOUGHT in longer


def _last_terminator(last: str, middle: str, gap: str, prompt: str, opening: str) -> str:
    """Return the text that ends a reply at the end of a conversation, or an empty string.

    Args:
        last: what follows the reply.
        middle: what stands between a reply and the next user turn's content.
        gap: what stands between a user turn's content and the reply.
        prompt: what follows the user turn's content in the reply's prompt.
        opening: what precedes the first user turn's content.
    """
    end, following = last.strip(), middle.lstrip()
    if following.startswith(end) or not _goes_on(end, gap.strip(), prompt.strip()):
        return end
    shared = end[: shared_prefix(end, following)]
    turn_end = _CONTROL.match(gap.lstrip())
    if turn_end and turn_end[0] in shared:
        return shared[: shared.find(turn_end[0]) + len(turn_end[0])]
    before = _before_opening(middle, opening)
    if before and end.startswith(before):
        return before
    # What both gaps share ends this turn: a control token, or else whole lines.
    unit = _CONTROL.match(shared)
    return unit[0] if unit else shared[: shared.rfind("\n") + 1].strip()


def _goes_on(end: str, gap: str, prompt: str) -> bool:
    """Return whether the text behind a final reply is more than the reply's end.

    Some templates open the next assistant turn unasked, others append instructions.
    """
    for header in filter(None, (gap, prompt)):
        turn_end = _CONTROL.match(header)
        opened = header[turn_end.end() :] if turn_end else header
        if header.endswith(end) or (opened and end.endswith(opened.strip())):
            return True
        if turn_end and _opens(end, turn_end[0], opened):
            return True
    return len(end.split()) > _TERMINATOR_WORDS


def _opens(end: str, turn_end: str, opened: str) -> bool:
    """Return whether what follows a turn's end token is how the header behind it begins."""
    behind = end[end.find(turn_end) + len(turn_end) :].strip() if turn_end in end else ""
    return bool(behind) and opened.strip().startswith(behind)


def _before_opening(middle: str, opening: str) -> str:
    """Return what of the text between a reply and a user turn precedes the turn's opening."""
    cut = len(middle) - shared_suffix(opening, middle)
    if cut != _unit_start(middle, cut):
        cut = middle.find(">", cut) + 1 or cut
    return middle[:cut].strip()


def _middle_terminator(last: str, gap: str, middle: str, opening: str, stops: Sequence[str]) -> str:
    """Return the text that ends a reply before another turn, where it differs, or "".

    Args:
        last: what follows a reply at the end of a conversation.
        gap: what stands between a user turn's content and the reply.
        middle: what stands between a reply and the next user turn's content.
        opening: what precedes the first user turn's content.
        stops: tokens at which generation stops.
    """
    following = middle.lstrip()
    found = [text for text in stops if text and following.startswith(text)]
    if found:
        return max(found, key=len)
    if not last.strip() or following.startswith(last.strip()):
        return ""
    unit = _CONTROL.match(following)
    if unit is not None and gap.lstrip().startswith(unit[0]):
        return unit[0]  # it ends a user turn as well
    return _before_opening(middle, opening)
