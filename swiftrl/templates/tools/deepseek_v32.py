"""DeepSeek V3.2: DSML in a block of function_calls."""

from swiftrl.templates.parsing.dsml_calls import dsml

SYNTAX = dsml("function_calls")
