"""Mistral's tokenizers from v11 on: [TOOL_CALLS]name[CALL_ID]id[ARGS]{...}, later without id."""

from dataclasses import dataclass

from swiftrl.core.messages import ToolCall
from swiftrl.templates.parsing.named_calls import NamedCalls

_ID = "[CALL_ID]"


@dataclass(frozen=True, kw_only=True)
class MistralCalls(NamedCalls):
    """Named calls with the id behind the name."""

    def head(self, call: ToolCall, index: int) -> str:
        """Return the name, and the id if there is one."""
        return call.name if call.id is None else f"{call.name}{_ID}{call.id}"

    def names(self, head: str) -> tuple[str, str | None]:
        """Return name and id."""
        name, _, identity = head.partition(_ID)
        return name, identity or None


SYNTAX = MistralCalls(before="[TOOL_CALLS]", between="[ARGS]")
