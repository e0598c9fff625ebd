"""DeepSeek V4: DSML in a block of tool_calls."""

from swiftrl.templates.parsing.dsml_calls import dsml

SYNTAX = dsml("tool_calls")
