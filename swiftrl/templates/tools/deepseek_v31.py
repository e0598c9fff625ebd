"""DeepSeek V3.1: name and JSON between DeepSeek's marks."""

from swiftrl.templates.parsing.named_calls import NamedCalls

SYNTAX = NamedCalls(
    block=("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"),
    before="<｜tool▁call▁begin｜>",
    between="<｜tool▁sep｜>",
    after="<｜tool▁call▁end｜>",
)
