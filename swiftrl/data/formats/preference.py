"""TRL's and OpenRLHF's preference rows: `chosen`, `rejected` and perhaps `prompt`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from swiftrl.data.draft import Draft, RowFormat, as_list, as_text, found, shown
from swiftrl.data.formats.messages import diverging
from swiftrl.data.replies import (
    assistant,
    history_turns,
    is_messages,
    reply_messages,
    system_turns,
    user,
    with_system,
)
from swiftrl.data.rows import BadRow
from swiftrl.data.turns import canonical_role

_PROMPTS = ("prompt", "question", "query", "input")
_REPLIES = frozenset(("chosen", "rejected"))
_TURN_OF_HH = re.compile(r"\n\n(Human|Assistant): ?")


def detect(values: Mapping[str, Any]) -> int:
    """Columns `chosen` and `rejected`."""
    return 30 if values.keys() >= _REPLIES else 0


def convert(values: Mapping[str, Any]) -> Draft:
    r"""Read one row.

    A textual prompt becomes a user message, since replies are trained through the chat template.
    Without a prompt, chosen and rejected are whole conversations whose common start is the
    prompt: lists of messages, or text with "\n\nHuman:" and "\n\nAssistant:" turns.
    """
    chosen, rejected = (_parsed(values[name], name) for name in ("chosen", "rejected"))
    name = found(values, _PROMPTS)
    system, used = system_turns(values)
    if name is None:
        first = with_system(_whole(chosen, "chosen"), system)
        return diverging(first, with_system(_whole(rejected, "rejected"), system), used, _REPLIES)
    history, history_columns = history_turns(values)
    prompt = with_system(history + _prompt_turns(values[name], name), system)
    used = used | history_columns | {name}
    if _repeats(prompt, chosen) and _repeats(prompt, rejected):
        first = with_system(list(chosen), system)
        return diverging(first, with_system(list(rejected), system), used, _REPLIES)
    reply = _reply(chosen, "chosen")
    return Draft(prompt + reply, len(reply), _reply(rejected, "rejected"), None, used, _REPLIES)


def _parsed(value: Any, name: str) -> Any:
    looks_like_messages = isinstance(value, str) and re.match(r"\s*\[\s*\{", value)
    return as_list(value, name) if looks_like_messages else value


def _prompt_turns(value: Any, name: str) -> list[Any]:
    value = _parsed(value, name)
    return list(value) if is_messages(value) else [user(as_text(value, name))]


def _repeats(prompt: list[Any], reply: Any) -> bool:
    """Whether a reply is a whole conversation that says the prompt once more."""
    if not is_messages(reply):
        return False
    asked = [turn.get("content") for turn in prompt if canonical_role(turn) == "user"]
    first = next((turn.get("content") for turn in reply if canonical_role(turn) == "user"), None)
    return first is not None and first in asked[:1]


def _reply(value: Any, name: str) -> list[Any]:
    reply = reply_messages(value, name)
    if canonical_role(reply[0]) in ("user", "system"):
        raise BadRow(
            f'"{name}" begins with a {canonical_role(reply[0])} message that differs from '
            '"prompt"; expected the reply alone, or the whole conversation.'
        )
    return reply


def _whole(value: Any, name: str) -> list[Any]:
    if is_messages(value):
        return list(value)
    text = as_text(value, name)
    pieces = _TURN_OF_HH.split(f"\n\n{text.lstrip()}")
    if len(pieces) < 3 or pieces[0].strip():
        raise BadRow(
            f'row has "chosen" and "rejected" but no "prompt", and "{name}" is {shown(text)}; add '
            'a "prompt" column (or name yours with --columns), or give lists of messages.'
        )
    said = zip(pieces[1::2], pieces[2::2], strict=True)
    return [(user if who == "Human" else assistant)(what.strip()) for who, what in said]


FORMAT = RowFormat(detect, convert, "chosen, rejected [prompt, system, history, margin]")
