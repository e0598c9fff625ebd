"""ReAct: Action and Action Input on lines of their own; one call ends the reply."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from swiftrl.core.messages import Message, text_of
from swiftrl.templates.parsing.named_calls import NamedCalls
from swiftrl.templates.syntax import function_of, to_json


@dataclass(frozen=True, kw_only=True)
class ReActCalls(NamedCalls):
    """Named calls in plain words."""

    def describe(self, tools: Sequence[Mapping[str, Any]]) -> str:
        """Return a system prompt that offers the tools."""
        listed = "\n".join(to_json(function_of(tool)) for tool in tools)
        return (
            f"You can use these tools, given as JSON schemas:\n{listed}\n\n"
            "To use one, write\nAction: the tool's name\nAction Input: its arguments as a JSON "
            "object\nand stop. The result follows as\nObservation: the result\nUse as many as "
            "you need, then answer."
        )

    def results(self, messages: Sequence[Message]) -> str:
        """Return the results as observations."""
        return "\n".join(f"Observation: {text_of(message)}" for message in messages)


SYNTAX = ReActCalls(where="line", before="Action: ", between="\nAction Input: ", joint="\n")
