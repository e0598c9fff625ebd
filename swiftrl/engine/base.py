"""What every engine does: token prompts in, tokens with log-probabilities out."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

from swiftrl.core.errors import SwiftRLError
from swiftrl.engine.sampling import SamplingParams

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "Chunk",
    "Completion",
    "Deliver",
    "Engine",
    "FinishReason",
    "LiveEngine",
    "Request",
    "Ticket",
    "Top",
]

FinishReason = Literal["stop", "length", "abort"]
Top: TypeAlias = tuple[tuple[int, float], ...]
"""The likeliest tokens at one place with their log-probabilities, likeliest first."""


@dataclass(frozen=True, slots=True)
class Completion:
    """One reply.

    Attributes:
        token_ids: as sampled, the token that ended it included.
        logprobs: of each token, nats; see `sampling.logprobs_of` for the distribution.
        text: decoded, without the stop token, the stop text, and special tokens other than the
            marks of tool calls and thoughts that the engine was told to show.
        finish_reason: "stop" (a stop token or text), "length", or "abort".
        policy_version: of the weights that sampled it.
        top_logprobs: of each token, the likeliest in its place, as many as were asked for.
    """

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    text: str
    finish_reason: FinishReason
    policy_version: int = 0
    top_logprobs: tuple[Top, ...] = ()


@dataclass(frozen=True, slots=True)
class Chunk:
    """A step of a reply.

    Attributes:
        text: text that is certain by now; empty while a character or a stop text is incomplete.
        token_ids: tokens sampled since the last chunk.
        completion: the whole reply, in the last chunk only.
        index: which of the request's samples.
        logprobs: of `token_ids`.
        top_logprobs: of `token_ids`.
        prompt_logprobs: if asked for, in the first chunk: of each prompt token but the first, its
            log-probability and the likeliest in its place.
        error: why there will be no more; then there is no completion.
        cached: tokens of the prompt whose keys and values were there already.
    """

    text: str
    token_ids: tuple[int, ...]
    completion: Completion | None = None
    index: int = 0
    logprobs: tuple[float, ...] = ()
    top_logprobs: tuple[Top, ...] = ()
    prompt_logprobs: tuple[tuple[float, Top], ...] | None = None
    error: SwiftRLError | None = None
    cached: int = 0


Deliver: TypeAlias = Callable[[Chunk], None]
"""Takes a chunk; called in the engine's thread, so it must be quick and must not raise."""


@dataclass(frozen=True, eq=False, slots=True)
class Request:
    """What an engine is asked for.

    Attributes:
        prompt: token ids.
        sampling: how.
        n: samples.
        adapter: name of a loaded adapter; None is the base model.
        media: tensors of the prompt's pictures and the like.
        number: with the seed it decides the replies.
        streamed: whether chunks come token by token; otherwise one a sample, at its end.
        prompt_logprobs: how many likeliest tokens to tell at each place of the prompt, beside its
            own token's log-probability; None tells nothing.
    """

    prompt: Sequence[int]
    sampling: SamplingParams
    n: int = 1
    adapter: str | None = None
    media: Mapping[str, Any] = field(default_factory=dict)
    number: int = 0
    streamed: bool = True
    prompt_logprobs: int | None = None


class Ticket(Protocol):
    """A request on its way."""

    def abort(self) -> None:
        """Stop it; its samples end with "abort". Harmless once it is over."""
        ...


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


class LiveEngine(Protocol):
    """An engine that takes requests at any time and answers them together.

    It is an `Engine` too, which knows the number of its weights by itself.
    """

    def submit(self, request: Request, deliver: Deliver) -> Ticket:
        """Take a request; its chunks go to `deliver`.

        Raises:
            EngineError: it cannot be answered.
        """
        ...

    @property
    def adapters(self) -> tuple[str, ...]:
        """Names of the loaded adapters."""
        ...

    def add_adapter(self, name: str, folder: Path) -> None:
        """Load a LoRA adapter beside the others.

        Raises:
            ModelError: it is broken or belongs to another base.
        """
        ...

    def remove_adapter(self, name: str) -> None:
        """Unload an adapter.

        Raises:
            EngineError: there is none of this name, or replies are being written with it.
        """
        ...

    def update_weights(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        """Put new values into the model's parameters by name, between two steps.

        Raises:
            EngineError: a name or a shape is not the model's; nothing was changed then.
        """
        ...

    def sleep(self) -> None:
        """Give the memory of keys and values back; requests wait until `wake`."""
        ...

    def wake(self) -> None:
        """Go on after `sleep`."""
        ...

    def close(self) -> None:
        """End what is on its way and the engine's thread."""
        ...
