"""gpt-oss: a message in the commentary channel, addressed to the function."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from swiftrl.core.messages import ToolCall
from swiftrl.templates.parsing.calls import Calls, as_object
from swiftrl.templates.parsing.jsontext import json_value
from swiftrl.templates.parsing.scanner import MalformedCall, Scanner, Steps
from swiftrl.templates.syntax import ToolSyntax, arguments_of, to_json

_STARTS = (
    "<|channel|>commentary to=",
    "<|channel|>analysis to=",
    "<|start|>assistant to=",
    " to=functions.",
)
_RECIPIENT = re.compile(r"to=(?:functions\.)?(?P<name>[^\s<]+)")


@dataclass(frozen=True, kw_only=True)
class HarmonyCalls(ToolSyntax):
    """Messages to functions; recipient and channel come in either order."""

    def starts(self, names: Sequence[str] | None) -> tuple[str, ...]:
        """Return the headers that name a recipient."""
        return _STARTS

    def render(self, calls: Sequence[ToolCall]) -> str:
        """Return the messages, the first behind the header that the prompt ends with."""
        return "<|start|>assistant".join(
            f"<|channel|>commentary to=functions.{call.name} <|constrain|>json<|message|>"
            f"{to_json(arguments_of(call))}<|call|>"
            for call in calls
        )

    def read(self, scanner: Scanner, calls: Calls) -> Steps[None]:
        """Read one message."""
        yield from scanner.match("<|start|>assistant")
        header, _ = yield from scanner.until("<|message|>")
        found = _RECIPIENT.search(header)
        if found is None:
            raise MalformedCall("the header names no recipient")
        yield calls.start(found["name"])
        yield from scanner.space()
        text = yield from json_value(scanner, calls.piece)
        arguments = as_object(text)
        yield from scanner.match("<|call|>", "<|end|>")
        yield calls.end(arguments)


SYNTAX = HarmonyCalls(marks="harmony")
