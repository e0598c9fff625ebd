"""Which tokens a loss treats apart: those of high entropy, those that would cost entropy.

Shape suffixes: N trained tokens. Means, quantiles and shares are of the tokens given: the result
does not depend on how a step is divided only if they are those of the whole step
(`Algorithm.coupled`). Masks have no gradient.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = [
    "clip_cov_mask",
    "kl_cov_mask",
    "kl_cov_surrogate",
    "token_covariances",
    "top_entropy_mask",
]


def token_covariances(logps_N: Tensor, advantage_N: Tensor) -> Tensor:
    """Return [N] each token's part in Cov(log pi, A), Cui et al. 2025 (arXiv:2505.22617).

    (log pi - mean)(A - mean): tokens with a large one are likely and good, and lower the entropy.
    """
    logps_N = logps_N.detach().float()
    return (logps_N - logps_N.mean()) * (advantage_N - advantage_N.mean())


def clip_cov_mask(
    covariances_N: Tensor,
    chance_N: Tensor,
    *,
    fraction: float,
    low: float,
    high: float,
    candidates_N: Tensor | None = None,
) -> Tensor:
    """Clip-Cov (arXiv:2505.22617): choose tokens at random whose loss is dropped.

    Args:
        covariances_N: [N] from `token_covariances`.
        chance_N: [N] random numbers; of the tokens that may be chosen those with the smallest are.
        fraction: share of the N tokens that is chosen, at least one if any may be (paper: 2e-4).
        low: only tokens with a covariance above this (paper: 1).
        high: and below this (paper: 5).
        candidates_N: [N] bool, tokens that may be chosen: those PPO's clip leaves. None: all.

    Returns:
        [N] bool: True where the token loses its loss.
    """
    eligible_N = (covariances_N > low) & (covariances_N < high)
    if candidates_N is not None:
        eligible_N = eligible_N & candidates_N
    positions = eligible_N.nonzero().squeeze(1)
    order = chance_N[positions].argsort(stable=True)
    chosen = positions[order[: max(1, int(fraction * len(covariances_N)))]]
    return torch.zeros_like(eligible_N).index_fill(0, chosen, True)


def kl_cov_mask(covariances_N: Tensor, *, fraction: float) -> Tensor:
    """KL-Cov (arXiv:2505.22617): the `fraction` of tokens with the largest covariance, [N] bool.

    At least one token (paper: 2e-3 for 7B and 2e-4 for 32B parameters).
    """
    selected_N = torch.zeros_like(covariances_N, dtype=torch.bool)
    if len(covariances_N) == 0:
        return selected_N
    chosen = covariances_N.topk(max(1, int(fraction * len(covariances_N)))).indices
    return selected_N.index_fill(0, chosen, True)


def kl_cov_surrogate(
    log_ratio_N: Tensor, advantage_N: Tensor, selected_N: Tensor, *, coefficient: float
) -> Tensor:
    """KL-Cov's loss (arXiv:2505.22617), [N]: -r A, plus coefficient |log r| where selected.

    Args:
        log_ratio_N: [N] from `log_ratios` at level "token".
        advantage_N: [N] advantages.
        selected_N: [N] bool from `kl_cov_mask`.
        coefficient: of the penalty (paper: 1).
    """
    penalty_N = torch.where(selected_N, coefficient * log_ratio_N.abs(), 0)
    return penalty_N - log_ratio_N.exp() * advantage_N


def top_entropy_mask(entropy_N: Tensor, *, fraction: float) -> Tensor:
    """The tokens where the policy hesitates most, Wang et al. 2025 (arXiv:2506.01939).

    Args:
        entropy_N: [N] entropy of the distribution each token was drawn from, nats.
        fraction: share that is kept (paper: 0.2), swift's `top_entropy_quantile`.

    Returns:
        [N] bool: True where the entropy is at least its (1 - fraction) quantile; ties are kept.
    """
    if len(entropy_N) == 0:
        return torch.zeros_like(entropy_N, dtype=torch.bool)
    # Rounded, for (1 - 0.7) * 10 is a little more than 3 in floating point.
    rank = math.ceil(round((1 - fraction) * (len(entropy_N) - 1), 6))
    return entropy_N >= entropy_N.kthvalue(rank + 1).values
