"""MiniMax M2: invoke and parameter tags in <minimax:tool_call>."""

from swiftrl.templates.parsing.tagged_calls import TaggedCalls

SYNTAX = TaggedCalls(
    block=("<minimax:tool_call>\n", "\n</minimax:tool_call>"),
    call=('<invoke name="', '">\n', "</invoke>"),
    argument=('<parameter name="', '">', "</parameter>"),
)
