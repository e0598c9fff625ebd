"""Qwen3-Coder, Qwen 3.5 and later, Nemotron 3, Step 3.5: function and parameter tags."""

from swiftrl.templates.parsing.tagged_calls import TaggedCalls

SYNTAX = TaggedCalls(
    block=("<tool_call>\n", "\n</tool_call>"),
    call=("<function=", ">\n", "</function>"),
    argument=("<parameter=", ">", "</parameter>"),
    padded=True,
    each=True,
)
