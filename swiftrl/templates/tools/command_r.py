"""Command R: a JSON list in a block of code behind "Action:"."""

from swiftrl.templates.parsing.json_calls import JsonCalls

SYNTAX = JsonCalls(
    where="line",
    block=("Action: ```json\n[\n    ", "\n]\n```"),
    joint=",\n    ",
    keys=("tool_name", "parameters"),
)
