"""Granite 20B function calling: a JSON object behind each <function_call>."""

from swiftrl.templates.parsing.json_calls import JsonCalls

SYNTAX = JsonCalls(item=("<function_call> ", ""))
