"""Functionary 2.5: a reserved token, the name, and JSON on the next line."""

from swiftrl.templates.parsing.named_calls import NamedCalls

SYNTAX = NamedCalls(before="<|reserved_special_token_249|>", between="\n")
