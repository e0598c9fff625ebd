"""The calls of one reply while they are read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from swiftrl.core.messages import ToolCall
from swiftrl.templates.parsing.events import CallDelta, CallEnd, CallStart
from swiftrl.templates.parsing.scanner import MalformedCall, Scanner

__all__ = ["Calls", "as_object"]

_LONGEST_NAME = 256


class Calls:
    """Numbers the calls, knows the tools on offer, and makes the events.

    Args:
        scanner: the text; its mark is moved behind each complete call.
        tools: JSON schemas on offer; None where that is unknown.

    Attributes:
        names: of the tools on offer; None where that is unknown.
    """

    def __init__(self, scanner: Scanner, tools: Sequence[Mapping[str, Any]] | None) -> None:
        self._scanner = scanner
        self._parameters = {
            name: described.get("parameters") or {}
            for described in (tool.get("function", tool) for tool in tools or ())
            if isinstance(name := described.get("name"), str)
        }
        self.names = None if tools is None else tuple(self._parameters)
        self.count = 0
        self.opened: CallStart | None = None

    def start(self, name: str, id: str | None = None) -> CallStart:
        """Begin a call.

        Raises:
            MalformedCall: that is no name.
        """
        name = name.strip()
        if not name or len(name) > _LONGEST_NAME or any(c.isspace() for c in name):
            raise MalformedCall(f"{name[:40]!r} is no function's name")
        self.opened = CallStart(self.count, name, id)
        return self.opened

    def piece(self, text: str) -> CallDelta:
        """Return more of the arguments' JSON."""
        return CallDelta(self.count, text)

    def end(self, arguments: Mapping[str, Any], id: str | None = None) -> CallEnd:
        """Complete the call that was begun."""
        assert self.opened is not None
        call = ToolCall(self.opened.name, dict(arguments), id or self.opened.id)
        index, self.opened = self.count, None
        self.count += 1
        self._scanner.mark = self._scanner.at
        return CallEnd(index, call)

    def abandon(self) -> int | None:
        """Give up the call that was begun, and return its number."""
        index = self.opened.index if self.opened is not None else None
        self.count += self.opened is not None
        self.opened = None
        return index

    def offers(self, name: str) -> bool:
        """Return whether a tool of this name is on offer, or might be."""
        return self.names is None or name in self.names

    def schema(self, name: str) -> Mapping[str, Any] | None:
        """Return the JSON schema of a parameter of the call that was begun, None if unknown."""
        assert self.opened is not None
        parameters = self._parameters.get(self.opened.name) or {}
        properties = parameters.get("properties") if isinstance(parameters, Mapping) else None
        schema = properties.get(name) if isinstance(properties, Mapping) else None
        return schema if isinstance(schema, Mapping) else None


def as_object(text: str) -> dict[str, Any]:
    """Return the JSON object that `text` is.

    Raises:
        MalformedCall: it is none.
    """
    try:
        value = json.loads(text, strict=False)
    except ValueError:
        raise MalformedCall("the arguments are not JSON") from None
    if not isinstance(value, dict):
        raise MalformedCall("the arguments are not a JSON object")
    return value
