"""GLM-4.5 and later, Spark: keys and values in tags of their own."""

from swiftrl.templates.parsing.tagged_calls import TaggedCalls

SYNTAX = TaggedCalls(
    call=("<tool_call>", "\n", "</tool_call>"),
    argument=("<arg_key>", "</arg_key>\n<arg_value>", "</arg_value>"),
)
