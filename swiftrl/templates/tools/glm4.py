"""GLM-4: the name on a line of its own, JSON below; one call makes the reply."""

from collections.abc import Sequence
from dataclasses import dataclass

from swiftrl.templates.parsing.named_calls import NamedCalls


@dataclass(frozen=True, kw_only=True)
class GlmCalls(NamedCalls):
    """Named calls that only the names of the tools on offer introduce."""

    def starts(self, names: Sequence[str] | None) -> tuple[str, ...]:
        """Return the first line of a call to each tool."""
        return tuple(f"{name}\n" for name in names or ())

    def separator(self, content: str) -> str:
        """Return what stands between an answer and the call: the next assistant's header."""
        return "<|assistant|>" if content else ""


SYNTAX = GlmCalls(where="line", between="\n", joint="<|assistant|>", frames=("<|assistant|>",))
