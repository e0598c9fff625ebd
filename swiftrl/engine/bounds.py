"""What a model can take and give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from swiftrl.core.errors import EngineError
from swiftrl.engine.sampling import SamplingParams

__all__ = ["Bounds", "bounds_of"]


@dataclass(frozen=True, slots=True)
class Bounds:
    """Of one model.

    Attributes:
        longest: most tokens of prompt and reply together; None where the model states none.
        vocabulary: ids are below this.
    """

    longest: int | None
    vocabulary: int

    def check_prompt(self, prompt: Sequence[int]) -> None:
        """Refuse a prompt that cannot be answered.

        Raises:
            EngineError: it is empty, leaves no room for a reply, or holds what is no token.
        """
        if not len(prompt):
            raise EngineError("a prompt has no tokens.")
        if self.longest is not None and len(prompt) >= self.longest:
            raise EngineError(
                f"a prompt of {len(prompt)} tokens leaves no room for a reply: the model takes "
                f"{self.longest} tokens in all. Shorten the conversation."
            )

    def check_ids(self, ids: Sequence[int], what: str) -> None:
        """Refuse ids that are no tokens of the model.

        Raises:
            EngineError: it names the first of them.
        """
        wrong = next((i for i in ids if not 0 <= i < self.vocabulary), None)
        if wrong is not None:
            raise EngineError(f"{what}: {wrong} is no token; ids are 0 to {self.vocabulary - 1}.")

    def room(self, prompt: Sequence[int], sampling: SamplingParams) -> int:
        """Return how many tokens a reply to `prompt` may have.

        Raises:
            EngineError: none, or as many as one likes.
        """
        self.check_prompt(prompt)
        if self.longest is not None:
            left = self.longest - len(prompt)
            return min(left, sampling.max_tokens or left)
        if sampling.max_tokens is None:
            raise EngineError("max_tokens: this model states no longest sequence; give one.")
        return sampling.max_tokens


def bounds_of(model: Any, max_model_len: int | None = None) -> Bounds:
    """Return a model's bounds, the longest sequence cut down to `max_model_len`."""
    longest = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if max_model_len is not None:
        longest = min(longest or max_model_len, max_model_len)
    return Bounds(longest, int(model.get_input_embeddings().weight.shape[0]))
