"""Command A and R7B: a JSON list with ids between action marks."""

from swiftrl.templates.parsing.json_calls import JsonCalls

SYNTAX = JsonCalls(
    block=("<|START_ACTION|>[\n    ", "\n]<|END_ACTION|>"),
    joint=",\n    ",
    keys=("tool_name", "parameters"),
    id_key="tool_call_id",
    id_first=True,
    marks="cohere",
)
