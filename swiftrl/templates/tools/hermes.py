"""Hermes and Qwen: JSON between <tool_call> tags; ERNIE, EXAONE 4, Granite 4, Falcon and more."""

from swiftrl.templates.parsing.json_calls import JsonCalls

SYNTAX = JsonCalls(item=("<tool_call>\n", "\n</tool_call>"))
