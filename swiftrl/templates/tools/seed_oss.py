"""Seed-OSS: function and parameter tags in <seed:tool_call>."""

from swiftrl.templates.parsing.tagged_calls import TaggedCalls

SYNTAX = TaggedCalls(
    block=("<seed:tool_call>\n", "\n</seed:tool_call>"),
    call=("<function=", ">\n", "</function>"),
    argument=("<parameter=", ">", "</parameter>"),
    each=True,
    marks="seed",
)
