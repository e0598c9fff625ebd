"""Mistral's tokenizers v1 to v7: a JSON list with ids behind [TOOL_CALLS]."""

from swiftrl.templates.parsing.json_calls import JsonCalls

SYNTAX = JsonCalls(block=("[TOOL_CALLS] [", "]"), joint=", ", id_key="id")
