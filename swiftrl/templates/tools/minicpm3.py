"""MiniCPM 3: lines of Python in a block of code between marks."""

from swiftrl.templates.parsing.pythonic_calls import PythonicCalls

SYNTAX = PythonicCalls(
    block=("<|tool_call_start|>\n```python\n", "\n```\n<|tool_call_end|>"),
    joint="\n",
    marks="minicpm3",
)
