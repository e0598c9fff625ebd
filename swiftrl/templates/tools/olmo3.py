"""Olmo 3: a call on each line between <function_calls> tags."""

from swiftrl.templates.parsing.pythonic_calls import PythonicCalls

SYNTAX = PythonicCalls(block=("<function_calls>\n", "\n</function_calls>"), joint="\n")
