"""Log-probabilities of given tokens without the [N, V] matrix of logits.

Shapes: N trained tokens, V vocabulary, D width, C tokens of a chunk.

With logits z = cap(s * (h W^T + b)) / t for scale s, soft cap and temperature t:
    log p = z[target] - logsumexp(z);  entropy = logsumexp(z) - sum_v p_v z_v;
    collision = log sum_v p_v^2, never above 0: how sure the model is, whatever the target.
The products run in the type of the hidden states; everything behind them in float32 (float64 for
float64). Only C rows of logits exist at any time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from swiftrl.backends.products import rows_in_cache

__all__ = ["CHUNK", "LinearHead", "LogitTerms", "linear_logprobs", "module_logprobs"]

CHUNK = 256
"""Tokens of a chunk: 32 MiB of float32 logits for a vocabulary of 32k."""


@dataclass(frozen=True, slots=True)
class LogitTerms:
    """What happens to the head's output before the softmax.

    Attributes:
        scale: factor (Cohere's logit_scale, one over Granite's logits_scaling).
        soft_cap: z becomes cap * tanh(z / cap) (Gemma 2); None is off.
        temperature: z is divided by it; 1 is the model's own distribution.
    """

    scale: float = 1.0
    soft_cap: float | None = None
    temperature: float = 1.0

    def apply_(self, logits: Tensor) -> Tensor:
        """Turn raw logits into z, in place."""
        if self.soft_cap is None:
            factor = self.scale / self.temperature
            return logits if factor == 1.0 else logits.mul_(factor)
        inner, outer = self.scale / self.soft_cap, self.soft_cap / self.temperature
        return logits.mul_(inner).tanh_().mul_(outer)

    def apply(self, logits: Tensor) -> Tensor:
        """Turn raw logits into z; autograd sees through it."""
        if self.soft_cap is None:
            return logits * (self.scale / self.temperature)
        inner, outer = self.scale / self.soft_cap, self.soft_cap / self.temperature
        return torch.tanh(logits * inner) * outer

    def slope(self, z: Tensor) -> Tensor | float:
        """Return d z / d raw logits, given z."""
        if self.soft_cap is None:
            return self.scale / self.temperature
        tanh = z * (self.temperature / self.soft_cap)
        return tanh.square_().neg_().add_(1.0).mul_(self.scale / self.temperature)


@dataclass(frozen=True, slots=True)
class LinearHead:
    """A linear head and how its output is read.

    Attributes:
        weight: [V, D], bias: [V], both without gradient, in the products' type.
        products: type of the matrix products.
        chunk: C.
    """

    weight: Tensor
    bias: Tensor | None
    terms: LogitTerms
    products: torch.dtype
    chunk: int

    def chunks(self, hidden: Tensor) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Yield (rows, hidden states [C, D], raw logits [C, V] in the products' type).

        The logits lie in memory that the next chunk overwrites: fresh pages for every chunk would
        cost a processor as much as the softmax.
        """
        memory = hidden.new_empty(
            min(self.chunk, len(hidden)), len(self.weight), dtype=self.products
        )
        for start in range(0, len(hidden), self.chunk):
            rows = slice(start, min(start + self.chunk, len(hidden)))
            states = hidden[rows].to(self.products)
            raw = memory[: len(states)]
            torch.mm(states, self.weight.t(), out=raw)
            if self.bias is not None:
                raw += self.bias
            yield rows, states, raw

    def strips(self, raw: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Yield (rows of the chunk, z) of few rows at a time, which a processor's cache holds.

        z is in float32 (float64 for float64), and the next strip overwrites it, or raw itself.
        """
        # Double precision only where it came in, on the host.
        wide = torch.float64 if raw.dtype == torch.float64 else torch.float32
        size = rows_in_cache(raw.device, raw.shape[1], len(raw))
        memory = None if raw.dtype == wide else torch.empty_like(raw[:size], dtype=wide)
        for start in range(0, len(raw), size):
            rows = slice(start, min(start + size, len(raw)))
            z = raw[rows] if memory is None else memory[: rows.stop - start].copy_(raw[rows])
            yield rows, self.terms.apply_(z)


def _softmax_(z: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Turn z into its softmax in place; return log p of the targets and logsumexp(z), [C, 1].

    The largest z and its probability give the sum. A processor's softmax is fused, and takes less
    than half the time of its parts.
    """
    at_target, largest = z.gather(1, target), z.amax(1, keepdim=True)
    torch.softmax(z, 1, out=z)
    log_sum = largest.sub_(z.amax(1, keepdim=True).log_())
    return at_target.sub_(log_sum), log_sum


class _FrozenHead(torch.autograd.Function):
    """Log-probabilities when only the hidden states need a gradient.

    d (-log p) / d h = s / t (sum_v p_v W[v] - W[target]), [N, D] like the hidden states, is found
    while the logits are there: the backward pass scales its rows and recomputes nothing.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, target_ids: Tensor, head: LinearHead, want_collision: bool
    ) -> tuple[Tensor, Tensor | None]:
        direction = torch.empty_like(hidden)
        logps, collisions, factor = [], [], 1.0
        for rows, _, raw in head.chunks(hidden):
            targets = target_ids[rows, None]
            for strip, z in head.strips(raw):
                slope = head.terms.slope(z)
                logp, _ = _softmax_(z, targets[strip])
                logps.append(logp)
                if want_collision:
                    collisions.append(_collision(z))
                z.scatter_add_(1, targets[strip], torch.full_like(logp, -1.0))
                if isinstance(slope, float):
                    factor = slope
                else:
                    z.mul_(slope)
                raw[strip] = z
            direction[rows] = raw @ head.weight
        ctx.save_for_backward(direction)
        ctx.factor = -factor
        collision = torch.cat(collisions) if want_collision else None
        if collision is not None:
            ctx.mark_non_differentiable(collision)
        return torch.cat(logps).squeeze(1), collision

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (direction,) = ctx.saved_tensors
        scale = (gradients[0] * ctx.factor).to(direction.dtype)
        return direction * scale[:, None], None, None, None


class _TrainedHead(torch.autograd.Function):
    """Log-probabilities, entropies and collisions; the backward pass recomputes the logits.

    With p = softmax(z), H its entropy and upstream gradients g (log p) and e (H):
        d / d z_v = g ([v = target] - p_v) - e p_v (log p_v + H).
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        ids: Tensor,
        head: LinearHead,
        want_collision: bool,
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        logps, entropies, collisions = _forward(
            hidden, ids, head, want_entropy=True, want_collision=want_collision
        )
        assert entropies is not None
        ctx.save_for_backward(hidden, weight, bias, ids, entropies)
        ctx.head = head
        if collisions is not None:
            ctx.mark_non_differentiable(collisions)
        return logps, entropies, collisions

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, ids, entropies = ctx.saved_tensors
        head: LinearHead = ctx.head
        d_hidden = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        # Gathered weights may be narrow; sums over chunks are not.
        wide = torch.promote_types(weight.dtype, torch.float32)
        d_weight = torch.zeros_like(weight, dtype=wide) if ctx.needs_input_grad[1] else None
        d_bias = torch.zeros_like(bias) if bias is not None and ctx.needs_input_grad[2] else None
        for rows, states, raw in head.chunks(hidden):
            g, e = gradients[0][rows, None], gradients[1][rows, None]
            target, entropy = ids[rows, None], entropies[rows, None]
            for strip, z in head.strips(raw):
                slope = head.terms.slope(z)
                log_p = z.log_softmax(1)
                d_strip = log_p.exp() * (-g[strip] - e[strip] * (log_p + entropy[strip]))
                torch.nan_to_num_(d_strip).scatter_add_(1, target[strip], g[strip])
                raw[strip] = d_strip.mul_(slope)
            d_z = raw
            if d_hidden is not None:
                d_hidden[rows] = (d_z @ head.weight).to(hidden.dtype)
            if d_weight is not None:
                d_weight += d_z.t() @ states
            if d_bias is not None:
                d_bias += d_z.sum(0).to(d_bias.dtype)
        d_head = None if d_weight is None else d_weight.to(weight.dtype)
        return d_hidden, d_head, d_bias, None, None, None


def _collision(p: Tensor) -> Tensor:
    """Return [C] log sum_v p_v^2 of probabilities [C, V]."""
    return torch.linalg.vecdot(p, p).log_()


def _forward(
    hidden: Tensor, ids: Tensor, head: LinearHead, *, want_entropy: bool, want_collision: bool
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    logps, entropies, collisions = [], [], []
    for rows, _, raw in head.chunks(hidden):
        targets = ids[rows, None]
        for strip, z in head.strips(raw):
            before = z.clone() if want_entropy else z
            logp, log_sum = _softmax_(z, targets[strip])
            logps.append(logp)
            if want_collision:
                collisions.append(_collision(z))
            if want_entropy:
                log_p = before.sub_(log_sum)
                entropies.append(z.mul_(log_p).nan_to_num_().sum(1, keepdim=True).neg_())
    entropy = torch.cat(entropies).squeeze(1) if want_entropy else None
    collision = torch.cat(collisions) if want_collision else None
    return torch.cat(logps).squeeze(1), entropy, collision


def linear_logprobs(
    hidden: Tensor,
    weight: Tensor,
    target_ids: Tensor,
    *,
    bias: Tensor | None = None,
    soft_cap: float | None = None,
    logit_scale: float = 1.0,
    temperature: float = 1.0,
    chunk: int = CHUNK,
    want_entropy: bool = False,
    want_collision: bool = False,
    products: torch.dtype | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Log-probabilities of `target_ids` under a linear head.

    Args:
        hidden: [N, D] states that predict the targets.
        weight: [V, D] of the head; its gradient is computed only if it requires one.
        target_ids: [N] int64.
        bias: [V] of the head.
        soft_cap: final-logit soft cap; None is off.
        logit_scale: factor on the head's output.
        temperature: of the distribution.
        chunk: tokens whose logits exist at the same time.
        want_entropy: also return entropies.
        want_collision: return collisions in their place, which have no gradient.
        products: type of the matrix products; unset, the hidden states'.

    Returns:
        [N] log-probabilities and [N] entropies (None if not wanted), nats, float32 (float64 for
        float64), both with gradients.
    """
    wanted = want_entropy or want_collision
    terms = LogitTerms(logit_scale, soft_cap, temperature)
    products = products or hidden.dtype
    frozen_bias = None if bias is None else bias.detach().to(products)
    head = LinearHead(weight.detach().to(products), frozen_bias, terms, products, chunk)
    if not len(target_ids):
        empty = hidden.sum() * 0.0 + hidden.new_zeros(0, dtype=torch.float32)
        return empty, empty if wanted else None
    trained = weight.requires_grad or (bias is not None and bias.requires_grad)
    if not torch.is_grad_enabled() or not (trained or hidden.requires_grad):
        logps, entropy, collision = _forward(
            hidden, target_ids, head, want_entropy=want_entropy, want_collision=want_collision
        )
        return logps, collision if want_collision else entropy
    if want_entropy or trained:
        logps, entropy, collision = cast(
            "tuple[Tensor, Tensor, Tensor | None]",
            _TrainedHead.apply(hidden, weight, bias, target_ids, head, want_collision),
        )
        return logps, collision if want_collision else entropy if want_entropy else None
    return cast(
        "tuple[Tensor, Tensor | None]",
        _FrozenHead.apply(hidden, target_ids, head, want_collision),
    )


def module_logprobs(
    hidden: Tensor,
    head: Callable[[Tensor], Tensor],
    target_ids: Tensor,
    *,
    terms: LogitTerms,
    chunk: int = CHUNK,
    want_entropy: bool = False,
    want_collision: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """The same for a head that is no plain linear layer (it has adapters, say), chunk by chunk.

    Args:
        hidden: [N, D].
        head: maps [C, D] to raw logits [C, V].
        target_ids: [N] int64.
        terms: how the logits are read.
        chunk: tokens whose logits exist at the same time.
        want_entropy: also return entropies.
        want_collision: return collisions in their place.

    Returns:
        As `linear_logprobs`.
    """

    def of_chunk(states: Tensor, ids: Tensor) -> Tensor:
        z = terms.apply(head(states).float()).log_softmax(1)
        logp = z.gather(1, ids[:, None]).squeeze(1)
        other = torch.zeros_like(logp)
        if want_collision:
            other = (2 * z.detach()).logsumexp(1)
        elif want_entropy:
            other = -(z.exp() * z).sum(1)
        return torch.stack([logp, other])

    both = [
        checkpoint(of_chunk, states, ids, use_reentrant=False)
        for states, ids in zip(hidden.split(chunk), target_ids.split(chunk), strict=True)
    ]
    logps, other = torch.cat(cast("list[Tensor]", both), dim=1)
    if want_collision:
        return logps, other.detach()
    return logps, other if want_entropy else None
