"""Losses on replies that are each good or bad on their own: pure functions of log-ratios.

`logratio_B` is [B], the sum over a reply's tokens of log pi - log pi_ref, nats; `desirable_B` is
[B] bool. Each result is [B], one loss a reply, before any mean.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

__all__ = ["apo_zero_unpaired_loss", "bco_loss", "kto_loss"]


def kto_loss(logratio_B: Tensor, desirable_B: Tensor, *, beta: float, kl: float | Tensor) -> Tensor:
    """Kahneman-Tversky optimisation, Ethayarajh et al. 2024 (arXiv:2402.01306), eq. 8.

    Args:
        logratio_B: [B] log-ratio of each reply.
        desirable_B: [B] whether it is a good one.
        beta: how soon gains and losses saturate, > 0.
        kl: z_0, nats: how far the policy has moved from the reference, estimated on prompts with
            other prompts' replies and not below 0; without gradient. The same for all.

    Returns:
        [B] 1 - v / lambda: the loss of each reply before its weight lambda.
    """
    gain_B = beta * (logratio_B - kl)
    return torch.where(desirable_B, (-gain_B).sigmoid(), gain_B.sigmoid())


def apo_zero_unpaired_loss(logratio_B: Tensor, desirable_B: Tensor, *, beta: float) -> Tensor:
    """Anchored preference optimisation on single replies (arXiv:2408.06266), eq. 7 by halves."""
    reward_B = beta * logratio_B
    return torch.where(desirable_B, (-reward_B).sigmoid(), reward_B.sigmoid())


def bco_loss(
    logratio_B: Tensor, desirable_B: Tensor, *, beta: float, delta: float | Tensor
) -> Tensor:
    """Binary classifier optimisation, Jung et al. 2024 (arXiv:2404.04656), eq. 9, by halves.

    Args:
        logratio_B: [B] log-ratio of each reply.
        desirable_B: [B] whether it is a good one.
        beta: scale of the implicit reward, > 0.
        delta: reward shift: the running mean of the rewards seen; no gradient.
    """
    logit_B = beta * logratio_B - delta
    return -torch.where(desirable_B, logsigmoid(logit_B), logsigmoid(-logit_B))
