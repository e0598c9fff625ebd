"""Phi-4-mini: a JSON list behind "functools", or between <|tool_call|> marks."""

from swiftrl.templates.parsing.json_calls import JsonCalls

SYNTAX = JsonCalls(
    block=("functools[", "]"),
    joint=", ",
    more_starts=("<|tool_call|>",),
    more_ends=("<|/tool_call|>",),
)
