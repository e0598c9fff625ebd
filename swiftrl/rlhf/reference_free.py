"""Preference losses without a reference: pure functions of log-probabilities.

`chosen_mean_B` is [B], the mean over a reply's tokens of log pi, nats; sums are named so. All
values are float32 or wider, and each result is [B], one loss a pair, before any mean.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, relu

from swiftrl.rlhf.offline import LOG_RATIO_BOUND

__all__ = [
    "alphapo_reward",
    "cpo_hinge_loss",
    "cpo_ipo_loss",
    "cpo_loss",
    "log_odds",
    "orpo_loss",
    "simpo_loss",
]

NEAREST_TO_CERTAIN = -1e-6
"""Mean log-probabilities above this count as this: the odds of certainty are infinite."""


def log_odds(mean_logps_B: Tensor) -> Tensor:
    """Return [B] log(p / (1 - p)) for p = exp(mean log-probability), arXiv:2403.07691, eq. 4.

    log(1 - p) is taken by expm1 where p is near 1 and by log1p elsewhere, since each of the two
    alone loses all digits at the other end (Machler 2012, "Accurately computing log(1 - exp(-a))").
    """
    logps_B = mean_logps_B.clamp(max=NEAREST_TO_CERTAIN)
    near = logps_B > -math.log(2)
    # Each branch sees only what it is good at: a NaN of the branch not taken would reach the
    # gradient.
    high_B = torch.where(near, logps_B, -math.log(2))
    low_B = torch.where(near, -math.log(2), logps_B)
    rest_B = torch.where(near, (-torch.expm1(high_B)).log(), torch.log1p(-low_B.exp()))
    return logps_B - rest_B


def orpo_loss(chosen_mean_B: Tensor, rejected_mean_B: Tensor) -> Tensor:
    """Odds-ratio loss, Hong et al. 2024 (arXiv:2403.07691), eq. 7, without its weight lambda.

    Args:
        chosen_mean_B: [B] mean log-probability of the chosen reply's tokens.
        rejected_mean_B: [B] the same for the rejected reply.
    """
    return -logsigmoid(log_odds(chosen_mean_B) - log_odds(rejected_mean_B))


def simpo_loss(
    chosen_reward_B: Tensor,
    rejected_reward_B: Tensor,
    *,
    beta: float,
    gamma: float,
    label_smoothing: float = 0.0,
) -> Tensor:
    """SimPO, Meng et al. 2024 (arXiv:2405.14734), eq. 6.

    Args:
        chosen_reward_B: [B] mean log-probability of the chosen reply (or `alphapo_reward` of it).
        rejected_reward_B: [B] the same for the rejected reply.
        beta: scale of the reward, > 0.
        gamma: target margin of the scaled rewards (not divided by beta).
        label_smoothing: probability that a label is flipped, in [0, 0.5).
    """
    logit_B = beta * (chosen_reward_B - rejected_reward_B) - gamma
    return -(1 - label_smoothing) * logsigmoid(logit_B) - label_smoothing * logsigmoid(-logit_B)


def alphapo_reward(mean_logps_B: Tensor, *, alpha: float) -> Tensor:
    """Reward of AlphaPO, Gupta et al. 2025 (arXiv:2501.03884), eq. 8, without beta.

    (1 - p^-alpha) / alpha with p = exp(mean log-probability); alpha = 0 is SimPO's log p.
    """
    if alpha == 0:
        return mean_logps_B
    exponent_B = (-alpha * mean_logps_B).clamp(-LOG_RATIO_BOUND, LOG_RATIO_BOUND)
    return -torch.expm1(exponent_B) / alpha


def cpo_loss(
    chosen_logps_B: Tensor,
    rejected_logps_B: Tensor,
    *,
    beta: float,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Contrastive preference optimisation, Xu et al. 2024 (arXiv:2401.08417), eq. 3.

    Args:
        chosen_logps_B: [B] sum of log pi over the chosen reply.
        rejected_logps_B: [B] the same for the rejected reply.
        beta: scale, > 0.
        label_smoothing: probability that a label is flipped, in [0, 0.5).
    """
    return simpo_loss(
        chosen_logps_B, rejected_logps_B, beta=beta, gamma=0.0, label_smoothing=label_smoothing
    )


def cpo_hinge_loss(chosen_logps_B: Tensor, rejected_logps_B: Tensor, *, beta: float) -> Tensor:
    """Hinge on CPO's logit: SLiC-HF (arXiv:2305.10425), eq. 1, with margin 1 / beta, scaled."""
    return relu(1 - beta * (chosen_logps_B - rejected_logps_B))


def cpo_ipo_loss(chosen_mean_B: Tensor, rejected_mean_B: Tensor, *, beta: float) -> Tensor:
    """IPO without a reference (arXiv:2310.12036, eq. 17, uniform reference); tau = beta."""
    return (chosen_mean_B - rejected_mean_B - 1 / (2 * beta)) ** 2
