"""Gemma 4."""

from swiftrl.templates.parsing.brace_calls import BraceCalls

SYNTAX = BraceCalls(
    item=("<|tool_call>", "<tool_call|>"),
    quote='<|"|>',
    frames=("<|tool_response>",),
    marks="gemma4",
)
