"""Tools, calls and results for templates that have no place for them.

What a template cannot take is written by a tool-call syntax: the tools into the system prompt,
calls into the assistant's text, results into a user turn. So one data set with tools trains every
model.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from swiftrl.core.messages import Conversation, Message, Part, ToolCall, text_of
from swiftrl.templates.syntax import ToolSyntax

__all__ = ["ToolWriting"]


@dataclass(frozen=True)
class ToolWriting:
    """What of tools a template leaves to a syntax.

    Attributes:
        syntax: writes it.
        offers: the tools on offer.
        calls: calls and their results.
        beside_text: calls in a turn that says something too.
        several: calls in a turn that makes more than one.
    """

    syntax: ToolSyntax
    offers: bool = True
    calls: bool = True
    beside_text: bool = True
    several: bool = True

    def prepared(self, conversation: Conversation) -> Conversation:
        """Return a conversation whose tools and results are plain turns where that is needed.

        Calls stay as they are: `text` writes them once their strings are guarded.
        """
        messages = list(conversation.messages)
        # Without calls or tools a tool's turn is a role like any other, for the template to take.
        if self.calls and (conversation.tools or any(m.tool_calls for m in messages)):
            messages = _results_as_user_turns(messages, self.syntax)
        if not (self.offers and conversation.tools):
            return dataclasses.replace(conversation, messages=tuple(messages))
        offer = self.syntax.describe(conversation.tools)
        if messages and messages[0].role == "system":
            said = text_of(messages[0])
            offer = f"{said}\n\n{offer}" if said else offer
            messages[0] = dataclasses.replace(messages[0], content=offer)
        else:
            messages.insert(0, Message("system", offer))
        return Conversation(tuple(messages))

    def writes(self, message: Message) -> bool:
        """Return whether the calls of this turn become text."""
        if not message.tool_calls:
            return False
        beside = self.beside_text and bool(text_of(message).strip())
        return self.calls or beside or (self.several and len(message.tool_calls) > 1)

    def text(self, content: str, calls: Sequence[ToolCall]) -> str:
        """Return an assistant's turn that says `content` and makes `calls`.

        Raises:
            TemplateError: the syntax cannot carry them.
        """
        return f"{content}{self.syntax.separator(content)}{self.syntax.render(calls)}"


def _results_as_user_turns(messages: Sequence[Message], syntax: ToolSyntax) -> list[Message]:
    """Return messages with each run of results, and the user's words behind it, as one turn."""
    turns: list[Message] = []
    results: list[Message] = []
    for message in messages:
        if message.role == "tool":
            results.append(message)
            continue
        if results:
            told, results = syntax.results(results), []
            if message.role == "user":
                turns.append(dataclasses.replace(message, content=_behind(told, message)))
                continue
            turns.append(Message("user", told))
        turns.append(message)
    return [*turns, Message("user", syntax.results(results))] if results else turns


def _behind(told: str, message: Message) -> str | tuple[Part, ...]:
    if isinstance(message.content, str):
        return f"{told}\n\n{message.content}"
    return (Part("text", text=f"{told}\n\n"), *message.content)
