"""Apertus: a list of objects that each map a function's name to its arguments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from swiftrl.core.messages import ToolCall
from swiftrl.templates.parsing.calls import Calls, as_object
from swiftrl.templates.parsing.json_calls import JsonCalls
from swiftrl.templates.parsing.jsontext import json_string, json_value
from swiftrl.templates.parsing.scanner import Scanner, Steps
from swiftrl.templates.syntax import arguments_of


@dataclass(frozen=True, kw_only=True)
class KeyedCalls(JsonCalls):
    """JSON objects whose only key is the function's name."""

    def _form(self, call: ToolCall) -> dict[str, Any]:
        return {call.name: arguments_of(call)}

    def read_object(self, scanner: Scanner, calls: Calls) -> Steps[None]:
        """Read one call."""
        yield from scanner.expect("{")
        yield from scanner.space()
        yield calls.start((yield from json_string(scanner)))
        yield from scanner.space()
        yield from scanner.expect(":")
        yield from scanner.space()
        text = yield from json_value(scanner, calls.piece)
        yield from scanner.space()
        yield from scanner.expect("}")
        yield calls.end(as_object(text))


SYNTAX = KeyedCalls(block=("<|tools_prefix|>[", "]<|tools_suffix|>"), joint=", ", marks="apertus")
