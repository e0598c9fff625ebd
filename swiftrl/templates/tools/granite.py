"""Granite 3: a JSON list behind <|tool_call|>."""

from swiftrl.templates.parsing.json_calls import JsonCalls

SYNTAX = JsonCalls(block=("<|tool_call|>[", "]"), joint=", ", more_starts=("<tool_call>",))
