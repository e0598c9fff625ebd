"""What every tool-call syntax does: write calls, and read them from text that arrives in pieces."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from swiftrl.core.errors import TemplateError
from swiftrl.core.messages import Message, ToolCall, text_of
from swiftrl.core.registry import Registry
from swiftrl.templates.parsing.calls import Calls
from swiftrl.templates.parsing.scanner import Scanner, Steps

__all__ = ["SYNTAXES", "ToolSyntax", "arguments_of", "function_of", "to_json"]

_EXAMPLE = ToolCall("function_name", {"parameter": "value"})


@dataclass(frozen=True, kw_only=True)
class ToolSyntax(ABC):
    """How a model writes tool calls.

    Attributes:
        where: where a call may begin: "anywhere"; at the begin of a "line"; or only where nothing
            but white space precedes it in the "reply", for syntaxes that no mark introduces.
        frames: texts around the answer that are no part of it.
        marks: name of the reasoning marks that belong to the syntax (`reasoning.MARKS`), or None.
    """

    where: Literal["anywhere", "line", "reply"] = "anywhere"
    frames: tuple[str, ...] = ()
    marks: str | None = None

    @abstractmethod
    def starts(self, names: Sequence[str] | None) -> tuple[str, ...]:
        """Return the texts that calls begin with, given the names of the tools on offer."""

    @abstractmethod
    def read(self, scanner: Scanner, calls: Calls) -> Steps[None]:
        """Read the calls that begin where the scanner stands, at one of `starts`.

        Raises:
            MalformedCall: the text is not a call; the scanner's mark says from where on.
        """

    @abstractmethod
    def render(self, calls: Sequence[ToolCall]) -> str:
        """Return what the assistant writes to make `calls`, which `read` inverts.

        Raises:
            TemplateError: a name or a value holds text that the syntax cannot carry.
        """

    def separator(self, content: str) -> str:
        """Return what stands between an answer and the calls behind it."""
        return "\n" if content else ""

    def describe(self, tools: Sequence[Mapping[str, Any]]) -> str:
        """Return a system prompt that offers `tools` to a model whose template has no place."""
        listed = "\n".join(to_json(function_of(tool)) for tool in tools)
        return (
            "# Tools\n\nYou may call these functions, given as JSON schemas:\n"
            f"<tools>\n{listed}\n</tools>\n\n"
            "To call a function, write in exactly this form, once for each call:\n"
            f"{self.render([_EXAMPLE])}"
        )

    def results(self, messages: Sequence[Message]) -> str:
        """Return the results of calls as the text of a user turn."""
        texts = (f"<tool_response>\n{text_of(message)}\n</tool_response>" for message in messages)
        return "\n".join(texts)


def function_of(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the function that an entry of "tools" describes."""
    return tool.get("function", tool)


def to_json(value: Any) -> str:
    """Return JSON as people write it: one line, letters of any script as they are."""
    return json.dumps(value, ensure_ascii=False)


def arguments_of(call: ToolCall) -> dict[str, Any]:
    """Return a call's arguments as an object.

    Raises:
        TemplateError: they are text that is no JSON object.
    """
    if not isinstance(call.arguments, str):
        return dict(call.arguments)
    try:
        value = json.loads(call.arguments or "{}")
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise TemplateError(
            f"the arguments of the call of {call.name!r} are {call.arguments[:60]!r}; expected a "
            "JSON object."
        )
    return value


SYNTAXES: Registry[ToolSyntax] = Registry("tool syntax", "swiftrl.templates.tools", "SYNTAX")
