"""LongCat: JSON between tags of its own."""

from swiftrl.templates.parsing.json_calls import JsonCalls

SYNTAX = JsonCalls(item=("<longcat_tool_call>\n", "\n</longcat_tool_call>"))
