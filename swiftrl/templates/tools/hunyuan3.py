"""Hunyuan 3: GLM's keys and values, each tag with the suffix of its edition."""

from swiftrl.templates.parsing.tagged_calls import TaggedCalls

SYNTAX = TaggedCalls(
    block=("<tool_calls:opensource>\n", "\n</tool_calls:opensource>"),
    call=("<tool_call:opensource>", "<tool_sep:opensource>\n", "</tool_call:opensource>"),
    argument=(
        "<arg_key:opensource>",
        "</arg_key:opensource>\n<arg_value:opensource>",
        "</arg_value:opensource>",
    ),
    marks="hunyuan3",
)
