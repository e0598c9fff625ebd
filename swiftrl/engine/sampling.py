"""How the next token is chosen.

Shapes: B sequences, V vocabulary.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from swiftrl.core.errors import EngineError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["SamplingParams", "choose", "generators", "penalise", "truncate"]


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """What a request may ask of sampling.

    Attributes:
        temperature: divides the logits; 0 (anything below 0.0001) takes the likeliest token.
        top_p: least set of likeliest tokens whose probability reaches this; 1 is off.
        top_k: number of likeliest tokens kept; 0 or -1 is off.
        min_p: tokens less likely than this times the likeliest are dropped; 0 is off.
        repetition_penalty: divides positive and multiplies negative logits of tokens that occurred
            in prompt or reply (Keskar et al. 2019, arXiv:1909.05858, section 4.1); 1 is off.
        max_tokens: most tokens of a reply, its stop token included; None is what fits.
        stop: texts that end a reply and are left out of it.
        stop_token_ids: ids that end a reply besides the model's own.
        seed: makes a reply reproducible, whatever it is batched with; None draws a seed.

    Raises:
        EngineError: a value is out of range.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    max_tokens: int | None = 512
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    seed: int | None = None

    def __post_init__(self) -> None:
        checks = (
            ("temperature", self.temperature >= 0 and math.isfinite(self.temperature), ">= 0"),
            ("top_p", 0 < self.top_p <= 1, "in (0, 1]"),
            ("top_k", self.top_k >= -1, "-1 or 0 (off) or more"),
            ("min_p", 0 <= self.min_p < 1, "in [0, 1)"),
            ("repetition_penalty", 0 < self.repetition_penalty < math.inf, "> 0"),
            ("max_tokens", self.max_tokens is None or self.max_tokens >= 1, "at least 1"),
            ("stop", "" not in self.stop, "texts that are not empty"),
        )
        for name, fits, expected in checks:
            if not fits:
                raise EngineError(f"{name} {getattr(self, name)}: expected {expected}.")

    @property
    def greedy(self) -> bool:
        """Whether the likeliest token is taken; smaller temperatures overflow float32 logits."""
        return self.temperature < 1e-4


def generators(seed: int | None, prompt: int, n: int) -> list[random.Random]:
    """Return one source of randomness for each of a prompt's `n` samples.

    Each depends on (seed, prompt's number, sample's number) alone, so that a reply does not
    change with what else is in the batch.
    """
    if seed is None:
        return [random.Random() for _ in range(n)]
    return [random.Random(f"{seed}/{prompt}/{sample}") for sample in range(n)]


def penalise(logits_BV: Tensor, seen_BV: Tensor, penalty: float) -> Tensor:
    """Return logits with the repetition penalty applied where `seen_BV` (bool) is true."""
    if penalty == 1:
        return logits_BV
    import torch

    lowered = torch.where(logits_BV > 0, logits_BV / penalty, logits_BV * penalty)
    return torch.where(seen_BV, lowered, logits_BV)


def truncate(logits_BV: Tensor, params: SamplingParams) -> Tensor:
    """Return logits with -inf where top_k, top_p or min_p drop a token, applied in this order."""
    off = float("-inf")
    if 0 < params.top_k < logits_BV.shape[-1]:
        least = logits_BV.topk(params.top_k, dim=-1).values[:, -1:]
        logits_BV = logits_BV.masked_fill(logits_BV < least, off)
    if params.top_p < 1:
        ordered, index = logits_BV.sort(dim=-1, descending=True)
        probabilities = ordered.softmax(dim=-1)
        # A token goes when those before it reach top_p already; the first always stays.
        drop = probabilities.cumsum(dim=-1) - probabilities >= params.top_p
        logits_BV = logits_BV.masked_fill(drop.scatter(1, index, drop), off)
    if params.min_p > 0:
        probabilities = logits_BV.softmax(dim=-1)
        least = probabilities.amax(dim=-1, keepdim=True) * params.min_p
        logits_BV = logits_BV.masked_fill(probabilities < least, off)
    return logits_BV


def choose(
    logits_BV: Tensor, seen_BV: Tensor, params: SamplingParams, sources: list[random.Random]
) -> tuple[Tensor, Tensor]:
    """Choose one token for each sequence.

    Args:
        logits_BV: [B, V] the model's, float32.
        seen_BV: [B, V] bool, tokens that occurred before.
        params: for all sequences.
        sources: B sources of randomness; each gives one number.

    Returns:
        [B] token ids, and [B] their log-probabilities (nats) under softmax(logits / temperature),
        before penalty and truncation: what a trainer computes for them. A temperature of 0 counts
        as 1 there.
    """
    import torch

    scale = 1.0 if params.greedy else params.temperature
    adjusted = penalise(logits_BV, seen_BV, params.repetition_penalty)
    if params.greedy:
        tokens_B = adjusted.argmax(dim=-1)
    else:
        probabilities = truncate(adjusted / scale, params).softmax(dim=-1)
        uniform_B = torch.tensor([source.random() for source in sources], dtype=torch.float32)
        cumulative = probabilities.cumsum(dim=-1)
        # Rounding can leave the sum below 1; scaling keeps the last drawn token a possible one.
        wanted = uniform_B.to(cumulative.device)[:, None] * cumulative[:, -1:]
        tokens_B = torch.searchsorted(cumulative, wanted, right=True).squeeze(1)
        tokens_B = tokens_B.clamp_max(_last_possible(probabilities))
    logprobs_B = (logits_BV / scale).log_softmax(dim=-1).gather(1, tokens_B[:, None]).squeeze(1)
    return tokens_B, logprobs_B


def _last_possible(probabilities_BV: Tensor) -> Tensor:
    """Return [B], the last token whose probability is not 0."""
    import torch

    positions = torch.arange(probabilities_BV.shape[-1], device=probabilities_BV.device)
    return (positions * (probabilities_BV > 0)).amax(dim=-1)
