"""DeepSeek V3 and R1: type, name and a block of JSON between DeepSeek's marks."""

from dataclasses import dataclass

from swiftrl.core.messages import ToolCall
from swiftrl.templates.parsing.named_calls import NamedCalls
from swiftrl.templates.parsing.scanner import MalformedCall

_SEPARATOR = "<｜tool▁sep｜>"


@dataclass(frozen=True, kw_only=True)
class DeepseekCalls(NamedCalls):
    """Named calls with the tool's type before the name."""

    def head(self, call: ToolCall, index: int) -> str:
        """Return type and name."""
        return f"function{_SEPARATOR}{call.name}"

    def names(self, head: str) -> tuple[str, str | None]:
        """Return the name."""
        _, found, name = head.partition(_SEPARATOR)
        if not found:
            raise MalformedCall(f"expected {_SEPARATOR}")
        return name, None


SYNTAX = DeepseekCalls(
    block=("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"),
    before="<｜tool▁call▁begin｜>",
    between="\n```json\n",
    after="\n```<｜tool▁call▁end｜>",
    joint="\n",
)
