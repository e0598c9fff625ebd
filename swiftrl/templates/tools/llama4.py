"""Llama 4: a Python list of calls, <|python_start|> and <|python_end|> around it or not."""

from swiftrl.templates.parsing.pythonic_calls import PythonicCalls

SYNTAX = PythonicCalls(where="reply", frames=("<|python_start|>", "<|python_end|>"))
