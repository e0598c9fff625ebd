"""MiniMax M1: lines of JSON between <tool_calls> tags."""

from swiftrl.templates.parsing.json_calls import JsonCalls

SYNTAX = JsonCalls(block=("<tool_calls>\n", "\n</tool_calls>"))
