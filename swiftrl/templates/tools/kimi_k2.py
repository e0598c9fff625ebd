"""Kimi K2: ids that hold the name, JSON arguments, in a section of their own."""

from dataclasses import dataclass

from swiftrl.core.messages import ToolCall
from swiftrl.templates.parsing.named_calls import NamedCalls


@dataclass(frozen=True, kw_only=True)
class KimiCalls(NamedCalls):
    """Named calls whose head is the id `functions.NAME:NUMBER`."""

    def head(self, call: ToolCall, index: int) -> str:
        """Return the call's id, made up unless it has the form that holds the name."""
        kept = call.id is not None and self.names(call.id) == (call.name, call.id)
        return call.id if kept and call.id else f"functions.{call.name}:{index}"

    def names(self, head: str) -> tuple[str, str | None]:
        """Return the name in an id, and the id."""
        identity = head.strip()
        name, _, number = identity.removeprefix("functions.").rpartition(":")
        return (name if number.isdecimal() and name else identity), identity


SYNTAX = KimiCalls(
    block=("<|tool_calls_section_begin|>", "<|tool_calls_section_end|>"),
    before="<|tool_call_begin|>",
    between="<|tool_call_argument_begin|>",
    after="<|tool_call_end|>",
)
