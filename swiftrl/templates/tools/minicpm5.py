"""MiniCPM 5: function and param tags with names as attributes."""

from swiftrl.templates.parsing.tagged_calls import TaggedCalls

SYNTAX = TaggedCalls(
    call=('<function name="', '">', "</function>"),
    argument=('<param name="', '">', "</param>"),
    gap="",
)
