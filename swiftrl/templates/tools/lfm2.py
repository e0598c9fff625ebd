"""LFM2: a Python list of calls between marks."""

from swiftrl.templates.parsing.pythonic_calls import PythonicCalls

SYNTAX = PythonicCalls(block=("<|tool_call_start|>[", "]<|tool_call_end|>"))
