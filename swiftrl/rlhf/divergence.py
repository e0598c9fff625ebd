"""How far a student's next-token distributions are from a teacher's, without [N, V] logits.

Shapes: N trained tokens, V vocabulary (what both have), D width, C tokens of a chunk, K the
teacher's likeliest tokens.

With teacher P = softmax(y) and student Q = softmax(z), in nats (GKD, Agarwal et al. 2023,
arXiv:2306.13649, section 3 and eq. 2):
    beta = 0: KL(P || Q);  beta = 1: KL(Q || P);
    between:  beta KL(P || M) + (1 - beta) KL(Q || M),  M = beta P + (1 - beta) Q.
The last tends to 0, not to the KLs, as beta tends to 0 or 1; the ends are what the paper names
them. Gradients, with g = log(Q / P) at beta = 1 and (1 - beta) log(Q / M) between:
    d / d z = Q - P at beta = 0, else Q (g - sum Q g).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from swiftrl.rlhf.logprobs import LinearHead, LogitTerms

__all__ = ["Distance", "linear_distances", "module_distances"]


@dataclass(frozen=True, slots=True)
class Distance:
    """What is measured at each token.

    Attributes:
        beta: 0 for forward KL, 1 for reverse KL, between for generalised Jensen-Shannon.
        top_k: compare on the teacher's K likeliest tokens alone, both distributions normalised
            over them; None for all.
        likelihood: weight of the token's own -log Q that is added.
    """

    beta: float
    top_k: int | None = None
    likelihood: float = 0.0

    def support(self, z: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return log Q and log P [C, V or K], and the tokens [C, K] they are of if not all."""
        if self.top_k is None or self.top_k >= y.shape[1]:
            return z.log_softmax(1), y.log_softmax(1), None
        likeliest, chosen = y.topk(self.top_k, dim=1)
        return z.gather(1, chosen).log_softmax(1), likeliest.log_softmax(1), chosen

    def value(self, log_q: Tensor, log_p: Tensor) -> Tensor:
        """Return [C] distances; autograd sees through them."""
        if self.beta == 0:
            return _kl(log_p, log_q)
        if self.beta == 1:
            return _kl(log_q, log_p)
        log_m = self._mixture(log_q, log_p)
        return self.beta * _kl(log_p, log_m) + (1 - self.beta) * _kl(log_q, log_m)

    def slope(self, log_q: Tensor, log_p: Tensor) -> Tensor:
        """Return d value / d z, [C, V or K]."""
        q = log_q.exp()
        if self.beta == 0:
            return q - log_p.exp()
        if self.beta == 1:
            g = log_q - log_p
        else:
            g = (1 - self.beta) * (log_q - self._mixture(log_q, log_p))
        return q * (g - (q * g).sum(1, keepdim=True))

    def _mixture(self, log_q: Tensor, log_p: Tensor) -> Tensor:
        return torch.logaddexp(log_p + math.log(self.beta), log_q + math.log1p(-self.beta))


def _kl(log_a: Tensor, log_b: Tensor) -> Tensor:
    return (log_a.exp() * (log_a - log_b)).sum(1)


class _FrozenHead(torch.autograd.Function):
    """Distances when only the student's hidden states need a gradient.

    Their direction d value / d h is found while the logits are there; the backward pass scales
    its rows.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        target_ids: Tensor,
        likelihood: Tensor,
        student: LinearHead,
        taught: tuple[Tensor, LinearHead],
        distance: Distance,
    ) -> tuple[Tensor, Tensor]:
        direction = torch.empty_like(hidden)
        values, logps = [], []
        states, teacher = taught
        together = zip(student.chunks(hidden), teacher.chunks(states), strict=True)
        for (rows, _, raw), (_, _, teacher_raw) in together:
            ids, share = target_ids[rows, None], likelihood[rows, None]
            for strip, z in student.strips(raw):
                slope = student.terms.slope(z)
                y = teacher.terms.apply(teacher_raw[strip].to(z.dtype))
                log_q, log_p, chosen = distance.support(z, y)
                values.append(distance.value(log_q, log_p))
                pull = distance.slope(log_q, log_p)
                whole = log_q if chosen is None else z.log_softmax(1)
                logps.append(whole.gather(1, ids[strip]).squeeze(1))
                if chosen is not None:
                    pull = torch.zeros_like(z).scatter_(1, chosen, pull)
                if distance.likelihood:
                    weight = share[strip]
                    pull += weight * whole.exp()
                    pull.scatter_add_(1, ids[strip], -weight)
                raw[strip] = pull * slope
            direction[rows] = raw @ student.weight
        ctx.save_for_backward(direction)
        logp = torch.cat(logps)
        ctx.mark_non_differentiable(logp)
        return torch.cat(values) - likelihood * logp, logp

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (direction,) = ctx.saved_tensors
        scale = gradients[0].to(direction.dtype)
        return direction * scale[:, None], None, None, None, None, None


def linear_distances(
    hidden: Tensor,
    target_ids: Tensor,
    likelihood: Tensor,
    student: LinearHead,
    teacher_hidden: Tensor,
    teacher: LinearHead,
    distance: Distance,
) -> tuple[Tensor, Tensor]:
    """Distances under a frozen linear head, with a gradient for the hidden states.

    Args:
        hidden: [N, D] the student's states that predict the targets.
        target_ids: [N] int64.
        likelihood: [N] weights of -log Q(target); all 0 where `distance.likelihood` is 0.
        student: its head, of the vocabulary that both have.
        teacher_hidden: [N, D'] the teacher's states at the same tokens.
        teacher: its head, of the same vocabulary.
        distance: what is measured.

    Returns:
        [N] distance + likelihood * (-log Q(target)), with gradient; and [N] log Q(target),
        without. Nats, float32 (float64 for float64).
    """
    if not len(target_ids):
        empty = hidden.sum() * 0.0 + hidden.new_zeros(0, dtype=torch.float32)
        return empty, empty.detach()
    found = _FrozenHead.apply(
        hidden, target_ids, likelihood, student, (teacher_hidden, teacher), distance
    )
    return cast("tuple[Tensor, Tensor]", found)


def module_distances(
    hidden: Tensor,
    target_ids: Tensor,
    likelihood: Tensor,
    head: Callable[[Tensor], Tensor],
    terms: LogitTerms,
    teacher_hidden: Tensor,
    teacher: LinearHead,
    distance: Distance,
) -> tuple[Tensor, Tensor]:
    """The same for a head that trains, chunk by chunk; the backward pass computes them again.

    Args:
        hidden: [N, D].
        target_ids: [N] int64.
        likelihood: [N].
        head: maps [C, D] to raw logits; its first V outputs count.
        terms: how the student's logits are read.
        teacher_hidden: [N, D'].
        teacher: its head.
        distance: what is measured.

    Returns:
        As `linear_distances`.
    """
    size = len(teacher.weight)

    def of_chunk(states: Tensor, ids: Tensor, share: Tensor, others: Tensor) -> Tensor:
        with torch.no_grad():
            raw = others.to(teacher.products) @ teacher.weight.t()
            raw = raw if teacher.bias is None else raw + teacher.bias
            y = teacher.terms.apply(raw.float())
        z = terms.apply(head(states)[:, :size].float())
        log_q, log_p, _ = distance.support(z, y)
        logp = z.log_softmax(1).gather(1, ids[:, None]).squeeze(1)
        return torch.stack([distance.value(log_q, log_p) - share * logp, logp])

    if not len(target_ids):
        empty = hidden.sum() * 0.0 + hidden.new_zeros(0, dtype=torch.float32)
        return empty, empty.detach()
    parts = (x.split(teacher.chunk) for x in (hidden, target_ids, likelihood, teacher_hidden))
    found = [checkpoint(of_chunk, *part, use_reentrant=False) for part in zip(*parts, strict=True)]
    values, logps = torch.cat(cast("list[Tensor]", found), dim=1)
    return values, logps.detach()
