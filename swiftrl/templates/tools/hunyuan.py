"""Hunyuan (A13B, dense), Jamba: a JSON list between <tool_calls> tags."""

from swiftrl.templates.parsing.json_calls import JsonCalls

SYNTAX = JsonCalls(block=("<tool_calls>[", "]</tool_calls>"), joint=", ")
