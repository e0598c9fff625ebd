"""What every engine does: token prompts in, tokens with log-probabilities out."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from swiftrl.engine.sampling import SamplingParams

__all__ = ["Chunk", "Completion", "Engine", "FinishReason"]

FinishReason = Literal["stop", "length", "abort"]


@dataclass(frozen=True, slots=True)
class Completion:
    """One reply.

    Attributes:
        token_ids: as sampled, the token that ended it included.
        logprobs: of each token, nats; see `sampling.choose` for the distribution.
        text: decoded, without the stop token, the stop text, and special tokens other than the
            marks of tool calls and thoughts that the engine was told to show.
        finish_reason: "stop" (a stop token or text), "length", or "abort".
        policy_version: of the weights that sampled it.
    """

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    text: str
    finish_reason: FinishReason
    policy_version: int = 0


@dataclass(frozen=True, slots=True)
class Chunk:
    """A step of a streamed reply.

    Attributes:
        text: text that is certain by now; empty while a character or a stop text is incomplete.
        token_ids: tokens sampled since the last chunk.
        completion: the whole reply, in the last chunk only.
    """

    text: str
    token_ids: tuple[int, ...]
    completion: Completion | None = None


class Engine(Protocol):
    """Generation, for rollouts and serving alike.

    Attributes:
        policy_version: number of the weights; whoever changes them raises it.
    """

    policy_version: int

    def check_prompt(self, prompt: Sequence[int]) -> None:
        """Refuse a prompt that cannot be answered.

        Raises:
            EngineError: it is empty or longer than the model can take.
        """
        ...

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: SamplingParams,
        n: int = 1,
        media: Sequence[Mapping[str, Any]] | None = None,
        *,
        numbers: Sequence[int] | None = None,
    ) -> list[list[Completion]]:
        """Return `n` completions of each prompt, in the prompts' order.

        `media` are the tensors of each prompt's pictures and the like, empty where it has none.
        `numbers` are the prompts', 0, 1, ... if unset: a seeded reply depends on its prompt's.

        Raises:
            EngineError: a prompt cannot be answered.
        """
        ...

    def stream(
        self,
        prompt: Sequence[int],
        sampling: SamplingParams,
        media: Mapping[str, Any] | None = None,
    ) -> Generator[Chunk, None, None]:
        """Yield a reply as it grows; closing the iterator aborts it."""
        ...
