"""One conversation on its way through a template."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from swiftrl.core.messages import Conversation, Message
from swiftrl.templates.compose import Turn
from swiftrl.templates.convert import guarded, prepare, to_messages
from swiftrl.templates.guard import ControlGuard, plain_marks
from swiftrl.templates.mask import locate
from swiftrl.templates.probe import Probe
from swiftrl.templates.render import ChatRenderer, render_reply
from swiftrl.templates.spans import Rendered

__all__ = ["Rules", "Run", "shorter"]


@dataclass(frozen=True, slots=True)
class Rules:
    """What holds for every conversation of one model.

    Attributes:
        renderer: the chat template.
        probe: what it wants and does.
        guard: breaks control tokens that come with the data.
        stop_texts: tokens at which generation stops, besides the template's terminators.
    """

    renderer: ChatRenderer
    probe: Probe
    guard: ControlGuard
    stop_texts: tuple[str, ...]


class Run:
    """One prepared conversation on its way through a template.

    Args:
        rules: the template's.
        prompt: the conversation, prepared.
        reply: messages behind it that are to train.
    """

    def __init__(self, rules: Rules, prompt: Conversation, reply: Sequence[Message] = ()) -> None:
        forms, guard = rules.probe.forms, rules.guard
        self._rules = rules
        self._reply_from = len(prompt.messages)
        if reply:
            answer = prepare(Conversation(tuple(reply)), forms).messages
            prompt = dataclasses.replace(prompt, messages=(*prompt.messages, *answer))
        self.conversation = prompt
        self.messages = to_messages(prompt, forms, guard)
        self._tools = guarded(list(prompt.tools), "system", guard)

    def render(self, messages: Sequence[Any], add_generation_prompt: bool) -> str:
        """Return the text of messages in the template's forms."""
        written = render_reply if self._rules.probe.prompts_only else ChatRenderer.render
        text = written(
            self._rules.renderer,
            messages,
            self._tools,
            add_generation_prompt=add_generation_prompt,
        )
        return plain_marks(text)

    def locate(self, wanted: Sequence[int]) -> Rendered:
        """Return the text and the spans of the assistant turns `wanted`."""
        return locate(
            self.render,
            self.messages,
            self._rules.probe,
            wanted=wanted,
            stop_texts=self._rules.stop_texts,
        )

    def turn(self, index: int) -> Turn:
        """Return the assistant turn at `index` with the weight its message asks for."""
        message = self.conversation.messages[index]
        thoughts = self._rules.guard(message.reasoning_content or "", message.role)
        scale = 1.0 if message.loss_scale is None else float(message.loss_scale)
        return Turn(self.messages[index], thoughts, scale)

    @property
    def ends_with_reply(self) -> bool:
        """Whether the last message is the assistant's."""
        return self.conversation.messages[-1].role == "assistant"

    @property
    def final_from(self) -> int:
        """Index of the first message behind the last user turn."""
        messages = self.conversation.messages
        users = [i for i, message in enumerate(messages) if message.role == "user"]
        return users[-1] + 1 if users else 0

    def wanted(self, train: str) -> list[int]:
        """Return the indices of the assistant turns that train."""
        start = {"default": 0, "last_round": self.final_from, "reply": self._reply_from}[train]
        return [
            index
            for index, message in enumerate(self.conversation.messages)
            if _trains(message) and (index >= start or message.loss)
        ]


def _trains(message: Message) -> bool:
    return message.role == "assistant" and message.loss is not False and message.loss_scale != 0


def shorter(
    messages: Sequence[Message], end: int, skipped: Sequence[int]
) -> list[tuple[int, list[int] | None]]:
    """Return where to cut a conversation for the turns that its text up to `end` cannot train."""
    cuts: dict[int, list[int]] = {}
    for index in skipped:
        following = range(index + 1, len(messages))
        cut = next((i for i in following if messages[i].role == "user"), len(messages))
        cuts.setdefault(cut if cut < end else index + 1, []).append(index)
    return sorted(cuts.items())
