"""The checked row of each kind, made from a draft."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from swiftrl.core.messages import Conversation, Message, Part
from swiftrl.data.draft import Draft, shown
from swiftrl.data.grounding import fill_objects
from swiftrl.data.parts import Media, MediaCursor
from swiftrl.data.rows import (
    BadRow,
    Instruction,
    LabelledReply,
    PlainText,
    PreferencePair,
    Prompt,
    RawRow,
    RowKind,
    ScoredReply,
    StepwiseReply,
)
from swiftrl.data.toolcalls import parse_tools
from swiftrl.data.turns import canonical_role, parse_turns

__all__ = ["BUILDERS", "Reading", "kind_of", "quoted"]

_MEDIA_COLUMNS = ("images", "videos", "audios", "image", "video", "audio")
_REJECTED_MEDIA = ("rejected_images", "rejected_videos", "rejected_audios")
_LABELS = {True: True, False: False, "true": True, "false": False, "1": True, "0": False}
_USE = {
    "preference": "For pairs use --rlhf_type dpo.",
    "labelled": "For replies labelled good or bad use --rlhf_type kto.",
    "instruction": "For replies without a rejected one use `swiftrl sft`.",
    "text": "For plain documents use `swiftrl pt`.",
    "prompt": "Prompts without replies are for --rlhf_type grpo.",
    "stepwise": "For steps with labels use --rlhf_type prm.",
    "scored": "For replies with scores use --rlhf_type rm_regression.",
}


def kind_of(draft: Draft, values: Mapping[str, Any]) -> RowKind:
    """Return the most telling kind that a row can serve as."""
    if draft.text is not None:
        return "text"
    if draft.rejected is not None:
        return "preference"
    if isinstance(values.get("completions"), list):
        return "stepwise"
    if _reply_length(draft) == 0:
        return "prompt"
    if isinstance(values.get("scores"), dict):
        return "scored"
    return "labelled" if _is_label(values.get("label")) else "instruction"


def quoted(names: Iterable[str]) -> str:
    """Return names in quotation marks, for messages."""
    return ", ".join(f'"{name}"' for name in names) or "(none)"


def _reply_length(draft: Draft) -> int:
    if draft.reply_length is not None:
        return draft.reply_length
    length = 0
    for turn in reversed(draft.messages):
        if canonical_role(turn) not in ("assistant", "tool_call"):
            break
        length += 1
    return length


@dataclass(slots=True)
class Reading:
    """One row on its way from draft to result: the draft, the columns, and where they stood."""

    draft: Draft
    values: Mapping[str, Any]
    raw: RawRow

    def conversation(self, messages: tuple[Message, ...]) -> Conversation:
        """Put the row's tools beside `messages`."""
        return Conversation(messages, parse_tools(self.values.get("tools")))

    def whole(self) -> Conversation:
        """Prompt and (chosen) reply in one conversation that ends with the assistant."""
        self.need_reply()
        cursor = self.cursor()
        messages = parse_turns(self.turns(), cursor)
        messages = _with_untagged_media(messages, cursor)
        cursor.check_all_used()
        if not any(message.role == "user" for message in messages):
            raise BadRow('no message has the role "user"; a conversation needs a question.')
        return self.conversation(messages)

    def turns(self) -> list[Any]:
        """The raw messages, with grounding tags filled in."""
        turns = self.draft.messages
        if "objects" in self.values:
            turns = fill_objects(turns, self.values["objects"])
        return turns

    def cursor(self) -> MediaCursor:
        """Return the row's media, none taken yet."""
        if not any(name in self.values for name in _MEDIA_COLUMNS):
            return MediaCursor(Media(folder=self.folder()))
        return MediaCursor(Media.of(self.values, self.folder()))

    def folder(self) -> Path | None:
        """Return the data file's folder; None for rows that are not from a file."""
        file = Path(self.raw.origin.source)
        return file.parent if file.suffix else None

    def need_reply(self) -> None:
        """Raise BadRow unless the row ends with a reply."""
        draft, names = self.draft, quoted(self.values)
        if draft.text is not None:
            raise BadRow(f"row needs a conversation with a reply; found {names}. {_USE['text']}")
        if _reply_length(draft) > 0:
            return
        parse_turns(draft.messages, self.cursor())
        last = canonical_role(draft.messages[-1]) if len(draft.messages) > 1 else None
        ending = f', and the last message is from "{last}"' if last else ""
        raise BadRow(
            f"row has no reply; found {names}{ending}. It must end with the assistant's reply. "
            + _USE["stepwise" if kind_of(draft, self.values) == "stepwise" else "prompt"]
        )

    def extra(self, *, keep_reply: bool = False, also: tuple[str, ...] = ()) -> dict[str, Any]:
        """Return the columns that were not used, the reply's columns only with `keep_reply`."""
        used = self.draft.prompt_columns | {"tools", "objects", *_MEDIA_COLUMNS, *also}
        if not keep_reply:
            used |= self.draft.reply_columns
        kept = {name: value for name, value in self.values.items() if name not in used}
        return {**self.draft.derived, **kept}


def _with_untagged_media(messages: tuple[Message, ...], cursor: MediaCursor) -> tuple[Message, ...]:
    """Put media that no tag stands for in front of the first user message."""
    kinds = cursor.untouched()
    place = next((i for i, message in enumerate(messages) if message.role == "user"), None)
    if not kinds or place is None:
        return messages
    parts = [cursor.take(kind) for kind in kinds for _ in cursor.media.items[kind]]
    content = messages[place].content
    if isinstance(content, str):
        content = (Part("text", text=content),)
    changed = replace(messages[place], content=(*parts, *content))
    return (*messages[:place], changed, *messages[place + 1 :])


def _preference(reading: Reading) -> PreferencePair:
    draft, values = reading.draft, reading.values
    if draft.rejected is None:
        hint = _USE["labelled" if _is_label(values.get("label")) else kind_of(draft, values)]
        if "chosen" in values:
            hint = 'Beside "chosen" give the worse reply as "rejected".'
        if any(isinstance(value, str) for value in reading.extra().values()):
            hint += """ Where a column has another name: --columns '{"NAME": "rejected"}'."""
        raise BadRow(f'row needs "rejected_response"; found {quoted(values)}. {hint}')
    if _reply_length(draft) == 0:
        raise BadRow(
            f"row has a rejected reply but no chosen one; found {quoted(values)}. Give the "
            'chosen reply as the last assistant message, or as "chosen".'
        )
    own_media = [name for name in values if name in _REJECTED_MEDIA]
    if own_media:
        raise BadRow(
            f"{quoted(own_media)} cannot be used: both replies answer one prompt with its media. "
            "Remove the column."
        )
    turns, cursor = reading.turns(), reading.cursor()
    prompt_length = len(turns) - _reply_length(draft)
    prompt = parse_turns(turns[:prompt_length], cursor)
    _check_prompt(prompt)
    rejected_cursor = cursor.copy()
    chosen = parse_turns(turns[prompt_length:], cursor, first=prompt_length)
    prompt = _with_untagged_media(prompt, cursor)
    rejected = parse_turns(draft.rejected, rejected_cursor, where="rejected")
    cursor.check_all_used()
    _check_reply(chosen, "chosen")
    _check_reply(rejected, "rejected")
    if chosen == rejected:
        raise BadRow(
            "the chosen and the rejected reply are the same, so the row teaches nothing; remove "
            "it, or use --strict false to set such rows aside."
        )
    return PreferencePair(
        reading.conversation(prompt),
        chosen,
        rejected,
        _margin(values.get("margin")),
        reading.extra(also=("margin",)),
        reading.raw.origin,
    )


def _check_prompt(messages: tuple[Message, ...]) -> None:
    if not messages:
        raise BadRow("there is no message before the reply; a conversation needs a question.")
    last = messages[-1].role
    if last not in ("user", "tool"):
        raise BadRow(
            f"the conversation before the reply ends with the {last}; it must end with a user "
            "message or a tool's answer."
        )


def _check_reply(messages: tuple[Message, ...], name: str) -> None:
    if not messages or messages[-1].role != "assistant":
        last = messages[-1].role if messages else "nothing"
        raise BadRow(f"the {name} reply ends with {last}; it must end with the assistant.")


def _margin(value: Any) -> float | None:
    if value is None:
        return None
    try:
        margin = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        margin = math.nan
    if not math.isfinite(margin):
        raise BadRow(f'"margin" is {shown(value)}; expected a number.')
    return margin


def _instruction(reading: Reading) -> Instruction:
    return Instruction(reading.whole(), reading.extra(), reading.raw.origin)


def _labelled(reading: Reading) -> LabelledReply:
    values = reading.values
    if "label" not in values:
        kind = kind_of(reading.draft, values)
        raise BadRow(f'row needs "label" (true or false); found {quoted(values)}. {_USE[kind]}')
    if not _is_label(values["label"]):
        raise BadRow(f'"label" is {shown(values["label"])}; expected true or false.')
    label = _LABELS[_label_key(values["label"])]
    return LabelledReply(reading.whole(), label, reading.extra(also=("label",)), reading.raw.origin)


def _label_key(value: Any) -> Any:
    return value.strip().lower() if isinstance(value, str) else value


def _is_label(value: Any) -> bool:
    return isinstance(value, bool | int | float | str) and _label_key(value) in _LABELS


def _plain_text(reading: Reading) -> PlainText:
    draft, values = reading.draft, reading.values
    text = draft.text
    if text is None and len(draft.messages) == 1 and _reply_length(draft) == 1:
        content = parse_turns(draft.messages, reading.cursor())[0].content
        text = content if isinstance(content, str) else None
    if text is None:
        kind = kind_of(draft, values)
        raise BadRow(f'row needs "text"; found {quoted(values)}. {_USE[kind]}')
    if not text.strip():
        raise BadRow('"text" is empty; remove the row.')
    return PlainText(text, reading.extra(), reading.raw.origin)


def _prompt(reading: Reading) -> Prompt:
    draft = reading.draft
    if draft.text is not None:
        raise BadRow(f"row needs a prompt; found {quoted(reading.values)}. {_USE['text']}")
    turns, length = reading.turns(), _reply_length(draft)
    cursor = reading.cursor()
    messages = parse_turns(turns[: len(turns) - length], cursor)
    messages = _with_untagged_media(messages, cursor)
    cursor.check_all_used()
    _check_prompt(messages)
    extra = reading.extra(keep_reply=True)
    if length and not draft.reply_columns:
        last = turns[-1]
        extra.setdefault("reply", last.get("content", last.get("value")))
    return Prompt(reading.conversation(messages), extra, reading.raw.origin)


def _stepwise(reading: Reading) -> StepwiseReply:
    draft, values = reading.draft, reading.values
    steps = values.get("completions")
    if not isinstance(steps, list):
        raise BadRow(
            f'row needs "completions" (the steps of a reply) and "labels"; found {quoted(values)}. '
            + _USE[kind_of(draft, values)]
        )
    for number, step in enumerate(steps):
        if not isinstance(step, str) or not step.strip():
            raise BadRow(f"completions[{number}] is {shown(step)}; expected the text of a step.")
    if not steps:
        raise BadRow('"completions" is empty; expected the steps of a reply.')
    cursor = reading.cursor()
    messages = _with_untagged_media(parse_turns(reading.turns(), cursor), cursor)
    cursor.check_all_used()
    _check_prompt(messages)
    labels = _step_labels(values["labels"], len(steps)) if "labels" in values else None
    return StepwiseReply(
        reading.conversation(messages), tuple(steps), labels, reading.extra(), reading.raw.origin
    )


def _step_labels(found: Any, steps: int) -> tuple[float, ...]:
    if not isinstance(found, list) or len(found) != steps:
        raise BadRow(f'"labels" is {shown(found)}; expected one for each of the {steps} steps.')
    for number, label in enumerate(found):
        number_like = isinstance(label, bool | int | float) and not math.isnan(label)
        if not number_like or not 0 <= label <= 1:
            raise BadRow(
                f"labels[{number}] is {shown(label)}; expected true or false, or a number from 0 "
                "(wrong) to 1 (right)."
            )
    return tuple(map(float, found))


def _scored(reading: Reading) -> ScoredReply:
    kind, extra = kind_of(reading.draft, reading.values), reading.extra()
    numbers = [value for value in extra.values() if isinstance(value, bool | int | float | dict)]
    if kind == "preference" or not numbers:
        raise BadRow(
            f"row needs numbers to learn (--objectives); found {quoted(reading.values)}. "
            + _USE[kind if kind != "scored" else "instruction"]
        )
    return ScoredReply(reading.whole(), reading.extra(), reading.raw.origin)


BUILDERS = {
    "preference": _preference,
    "instruction": _instruction,
    "labelled": _labelled,
    "text": _plain_text,
    "prompt": _prompt,
    "stepwise": _stepwise,
    "scored": _scored,
}
