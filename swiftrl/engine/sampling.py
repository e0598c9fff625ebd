"""How the next token is chosen.

Shapes: B sequences, V vocabulary.
"""

from __future__ import annotations

import math
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

from swiftrl.core.errors import EngineError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "Chosen",
    "Draw",
    "Grammar",
    "Matcher",
    "SamplingParams",
    "choose",
    "draw",
    "generators",
    "logprobs_of",
    "penalise",
    "truncate",
]


@dataclass(frozen=True, slots=True)
class Grammar:
    """What the text of a reply must be.

    Attributes:
        kind: "json_schema" (JSON that the schema `text` allows), "regex" or "lark" (a grammar).
        text: the schema as JSON, the regular expression or the grammar.
    """

    kind: Literal["json_schema", "regex", "lark"]
    text: str


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
        presence_penalty: taken off the logits of tokens that occurred in the reply; 0 is off.
        frequency_penalty: the same, times how often they occurred; 0 is off.
        logit_bias: added to the logits of these tokens.
        grammar: what the reply's text must be; None is anything.
        ignore_eos: the model's own stop tokens do not end a reply (for benchmarks).
        top_logprobs: likeliest tokens to tell at each place.
        at_temperature: log-probabilities are those of softmax(logits / temperature), which a
            trainer needs; if false, of softmax(logits), which users of a server expect.

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
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    grammar: Grammar | None = None
    ignore_eos: bool = False
    top_logprobs: int = 0
    at_temperature: bool = True

    def __post_init__(self) -> None:
        checks = (
            ("temperature", self.temperature >= 0 and math.isfinite(self.temperature), ">= 0"),
            ("top_p", 0 < self.top_p <= 1, "in (0, 1]"),
            ("top_k", self.top_k >= -1, "-1 or 0 (off) or more"),
            ("min_p", 0 <= self.min_p < 1, "in [0, 1)"),
            ("repetition_penalty", 0 < self.repetition_penalty < math.inf, "> 0"),
            ("max_tokens", self.max_tokens is None or self.max_tokens >= 1, "at least 1"),
            ("stop", "" not in self.stop, "texts that are not empty"),
            ("presence_penalty", math.isfinite(self.presence_penalty), "a number"),
            ("frequency_penalty", math.isfinite(self.frequency_penalty), "a number"),
            ("logit_bias", all(math.isfinite(bias) for _, bias in self.logit_bias), "numbers"),
            ("top_logprobs", self.top_logprobs >= 0, "0 or more"),
        )
        for name, fits, expected in checks:
            if not fits:
                raise EngineError(f"{name} {getattr(self, name)}: expected {expected}.")

    @property
    def greedy(self) -> bool:
        """Whether the likeliest token is taken; smaller temperatures overflow float32 logits."""
        return self.temperature < 1e-4

    @property
    def scale(self) -> float:
        """What divides the logits; a temperature of 0 counts as 1."""
        return 1.0 if self.greedy else self.temperature


class Matcher(Protocol):
    """Follows a reply through its grammar."""

    def allowed(self, device: object) -> Tensor:
        """Return [V] bool, the tokens that may come next."""
        ...

    def add(self, token: int) -> None:
        """Take the token that came."""
        ...


@dataclass(eq=False, slots=True)
class Draw:
    """What a reply's next token depends on besides the logits.

    Attributes:
        params: of the request.
        source: the reply's randomness; gives one number a token.
        prompt: tokens that count as occurred.
        matcher: of the grammar.
        counts: how often each token occurred in the reply.
    """

    params: SamplingParams
    source: random.Random
    prompt: Sequence[int] = ()
    matcher: Matcher | None = None
    counts: Counter[int] = field(default_factory=Counter)

    def add(self, token: int) -> None:
        """Take the token that was chosen."""
        self.counts[token] += 1
        if self.matcher is not None:
            self.matcher.add(token)

    @property
    def adjusts(self) -> bool:
        """Whether the logits are changed before the draw."""
        params = self.params
        return bool(
            params.repetition_penalty != 1
            or params.presence_penalty
            or params.frequency_penalty
            or params.logit_bias
            or self.matcher is not None
        )


def generators(seed: int | None, prompt: int, n: int) -> list[random.Random]:
    """Return one source of randomness for each of a prompt's `n` samples.

    Each depends on (seed, prompt's number, sample's number) alone, so that a reply does not
    change with what else is in the batch.
    """
    if seed is None:
        return [random.Random() for _ in range(n)]
    return [random.Random(f"{seed}/{prompt}/{sample}") for sample in range(n)]


def penalise(logits: Tensor, penalty: float) -> Tensor:
    """Return the logits of tokens that occurred, with the repetition penalty applied."""
    import torch

    return torch.where(logits > 0, logits / penalty, logits * penalty)


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


def draw(logits_BV: Tensor, params: SamplingParams, sources: Sequence[random.Random]) -> Tensor:
    """Draw one token for each sequence.

    Args:
        logits_BV: [B, V] float32, penalties applied.
        params: for all sequences.
        sources: B sources of randomness; each gives one number, unless the likeliest is taken.

    Returns:
        [B] token ids.
    """
    import torch

    if params.greedy:
        return logits_BV.argmax(dim=-1)
    probabilities = truncate(logits_BV / params.scale, params).softmax(dim=-1)
    uniform_B = torch.tensor([source.random() for source in sources], dtype=torch.float32)
    cumulative = probabilities.cumsum(dim=-1)
    # Rounding can leave the sum below 1; scaling keeps the last drawn token a possible one.
    wanted = uniform_B.to(cumulative.device)[:, None] * cumulative[:, -1:]
    tokens_B = torch.searchsorted(cumulative, wanted, right=True).squeeze(1)
    return tokens_B.clamp_max(_last_possible(probabilities))


@dataclass(frozen=True, slots=True)
class Chosen:
    """The next token of each sequence.

    Attributes:
        tokens: ids.
        logprobs: of them, as `logprobs_of` has them.
        tops: of each, the likeliest tokens in its place, as many as its request wants.
    """

    tokens: list[int]
    logprobs: list[float]
    tops: list[tuple[tuple[int, float], ...]]


def choose(logits_BV: Tensor, draws: Sequence[Draw]) -> Chosen:
    """Choose one token for each sequence, each by its own parameters.

    Args:
        logits_BV: [B, V] the model's, float32.
        draws: B, which take the tokens that are chosen.
    """
    import torch

    tokens_B = torch.zeros(len(draws), dtype=torch.long, device=logits_BV.device)
    adjusted_BV = _adjusted(logits_BV, draws)
    groups = _grouped(
        draws, lambda d: (d.params.temperature, d.params.top_p, d.params.top_k, d.params.min_p)
    )
    for rows in groups:
        part = adjusted_BV if len(rows) == len(draws) else adjusted_BV[rows]
        tokens_B[rows] = draw(part, draws[rows[0]].params, [draws[row].source for row in rows])
    logprobs, tops = logprobs_of(logits_BV, tokens_B, [one.params for one in draws])
    tokens = tokens_B.tolist()
    for one, token in zip(draws, tokens, strict=True):
        one.add(token)
    return Chosen(tokens, logprobs, tops)


def logprobs_of(
    logits_BV: Tensor, tokens_B: Tensor, params: Sequence[SamplingParams]
) -> tuple[list[float], list[tuple[tuple[int, float], ...]]]:
    """Return the log-probabilities of tokens, and the likeliest tokens in their places.

    They are those of softmax(logits / temperature), before penalty and truncation: what a trainer
    computes for them. A temperature of 0, and `at_temperature` false, count as 1.

    Args:
        logits_BV: [B, V] the model's, float32.
        tokens_B: [B] ids.
        params: B; how many likeliest tokens each wants.
    """
    import torch

    scales = [p.scale if p.at_temperature else 1.0 for p in params]
    if any(scale != 1 for scale in scales):
        logits_BV = logits_BV / torch.tensor(scales, device=logits_BV.device)[:, None]
    total_B = logits_BV.logsumexp(dim=-1)
    logprobs_B = logits_BV.gather(1, tokens_B[:, None]).squeeze(1) - total_B
    count = min(max((p.top_logprobs for p in params), default=0), logits_BV.shape[-1])
    tops: list[tuple[tuple[int, float], ...]] = [()] * len(params)
    if count:
        values, ids = logits_BV.topk(count, dim=-1)
        values = (values - total_B[:, None]).tolist()
        tops = [
            tuple(zip(row_ids[: p.top_logprobs], row[: p.top_logprobs], strict=True))
            for row_ids, row, p in zip(ids.tolist(), values, params, strict=True)
        ]
    return logprobs_B.tolist(), tops


def _grouped(draws: Sequence[Draw], key: Callable[[Draw], object]) -> Iterable[list[int]]:
    groups: dict[object, list[int]] = defaultdict(list)
    for row, one in enumerate(draws):
        groups[key(one)].append(row)
    return groups.values()


def _adjusted(logits_BV: Tensor, draws: Sequence[Draw]) -> Tensor:
    """Return the logits that tokens are drawn from: penalties, biases and grammars applied."""
    rows = [row for row, one in enumerate(draws) if one.adjusts]
    if not rows:
        return logits_BV
    logits_BV = logits_BV.clone()
    for row in rows:
        _adjust(logits_BV[row], draws[row])
    return logits_BV


def _adjust(logits_V: Tensor, one: Draw) -> None:
    """Apply a request's penalties, biases and grammar in place."""
    import torch

    params, size, device = one.params, len(logits_V), logits_V.device
    if params.repetition_penalty != 1:
        # Placeholders in the prompt may lie beyond what the model can say.
        occurred = {token for token in one.prompt if token < size} | one.counts.keys()
        ids = torch.tensor(sorted(occurred), dtype=torch.long, device=device)
        logits_V[ids] = penalise(logits_V[ids], params.repetition_penalty)
    if one.counts and (params.presence_penalty or params.frequency_penalty):
        ids = torch.tensor(list(one.counts), device=device)
        times = torch.tensor(list(one.counts.values()), dtype=logits_V.dtype, device=device)
        logits_V[ids] -= params.presence_penalty + params.frequency_penalty * times
    for token, bias in params.logit_bias:
        logits_V[token] += bias
    if one.matcher is not None:
        allowed = one.matcher.allowed(device)
        # A model's head may be wider than its tokenizer.
        logits_V[: len(allowed)].masked_fill_(~allowed[:size], float("-inf"))
        logits_V[len(allowed) :] = float("-inf")


def _last_possible(probabilities_BV: Tensor) -> Tensor:
    """Return [B], the last token whose probability is not 0."""
    import torch

    positions = torch.arange(probabilities_BV.shape[-1], device=probabilities_BV.device)
    return (positions * (probabilities_BV > 0)).amax(dim=-1)
