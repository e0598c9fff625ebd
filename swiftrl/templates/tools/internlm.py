"""InternLM 2 and 3, Intern-S1: a JSON object between action marks."""

from swiftrl.templates.parsing.json_calls import JsonCalls

SYNTAX = JsonCalls(
    item=("<|action_start|><|plugin|>\n", "<|action_end|>"),
    joint="",
    keys=("name", "parameters"),
    more_starts=("<|action_start|>",),
)
