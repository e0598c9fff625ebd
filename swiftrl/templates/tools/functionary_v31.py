"""Functionary 3.1, Llama 3.1 with user-defined tools: <function=name>{...}</function>."""

from swiftrl.templates.parsing.named_calls import NamedCalls

SYNTAX = NamedCalls(before="<function=", between=">", after="</function>", frames=("<|eom_id|>",))
