"""Llama 3.1 to 3.3: a bare JSON object with "parameters", the whole reply."""

from swiftrl.templates.parsing.json_calls import JsonCalls

SYNTAX = JsonCalls(
    where="reply",
    joint="; ",
    keys=("name", "parameters"),
    more_starts=("<|python_tag|>",),
    bare=True,
    frames=("<|eom_id|>",),
)
