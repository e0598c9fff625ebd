"""Advantages of single tokens for PPO and its kin: pure functions, no gradient but the value loss.

Shape suffixes: B sequences, N trained tokens. `sequence_index_N` is [N] int64, which of the B
sequences a token belongs to, ascending. Tokens that are not trained (a tool's output between two
turns) are not among the N, so that the token after a turn's last is the next turn's first: values
and advantages pass over the gap undiscounted.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = [
    "clipped_value_loss",
    "gae",
    "length_adaptive_lambda",
    "no_spread",
    "token_rewards",
    "whiten",
]

VARIANCE_EPSILON = 1e-8
"""Added to the variance when whitening, as verl and TRL's PPO do."""

EQUAL_ULPS = 4
"""Numbers this many units of rounding apart, relative to the largest, count as equal."""


def no_spread(highest: Tensor, lowest: Tensor) -> Tensor:
    """Return whether the two ends of a range are equal up to rounding (never if infinite)."""
    largest = torch.maximum(highest.abs(), lowest.abs())
    near = highest - lowest <= EQUAL_ULPS * torch.finfo(highest.dtype).eps * largest
    return near & largest.isfinite()


def whiten(values: Tensor, weights: Tensor | None = None, *, shift_mean: bool = True) -> Tensor:
    """Return the values with variance 1 and, if `shift_mean`, mean 0.

    Args:
        values: [n] all that the statistics are of (those of the whole batch).
        weights: [n] how often each counts; None: once. With weight 0 it takes no part.
        shift_mean: whether the mean goes; PPO keeps it when it whitens rewards.

    Returns:
        [n] (value - mean) / sqrt(variance + 1e-8), with n - 1 in the variance's denominator. If
        all values are equal they come back as exactly 0 (or unchanged, if the mean stays).
    """
    weights = torch.ones_like(values) if weights is None else weights.to(values.dtype)
    counted = values[weights > 0]
    if len(counted) == 0 or bool(no_spread(counted.max(), counted.min())):
        return torch.zeros_like(values) if shift_mean else values
    total = weights.sum()
    mean = (weights * values).sum() / total
    variance = (weights * (values - mean) ** 2).sum() / (total - 1).clamp(min=1)
    scaled = (values - mean) * torch.rsqrt(variance + VARIANCE_EPSILON)
    return scaled if shift_mean else scaled + mean


def _last(sequence_index_N: Tensor) -> Tensor:
    """Return [N] bool: the token is the last of its sequence."""
    last_N = torch.ones_like(sequence_index_N, dtype=torch.bool)
    last_N[:-1] = sequence_index_N[1:] != sequence_index_N[:-1]
    return last_N


def token_rewards(
    rewards_B: Tensor,
    sequence_index_N: Tensor,
    *,
    kl_N: Tensor | None = None,
    beta: float = 0.0,
) -> Tensor:
    """Put each reply's reward on its last trained token, minus beta KL on every token.

    As in Ouyang et al. 2022 (arXiv:2203.02155), eq. 2, token by token.

    Args:
        rewards_B: [B] rewards; replies that could not be scored must have been left out.
        sequence_index_N: [N] int64 ascending.
        kl_N: [N] estimates from `kl_estimate`; None: no penalty.
        beta: weight of the penalty.

    Returns:
        [N] rewards.

    Raises:
        ValueError: a reward is NaN.
    """
    if bool(rewards_B.isnan().any()):
        raise ValueError("token_rewards: NaN among the rewards; leave out unscorable replies")
    rewards_N = torch.where(_last(sequence_index_N), rewards_B[sequence_index_N], 0)
    return rewards_N if kl_N is None else rewards_N - beta * kl_N


def length_adaptive_lambda(lengths_B: Tensor, *, alpha: float = 0.05) -> Tensor:
    """Return [B] lambda = 1 - 1 / (alpha length): VAPO, Yue et al. 2025 (arXiv:2504.05118).

    `lengths_B` is [B] trained tokens. Deviation: no less than 0, where the formula turns negative
    (replies shorter than 1 / alpha = 20 tokens). VAPO uses it for the policy only; its critic has
    lambda 1 (decoupled GAE).
    """
    return (1 - 1 / (alpha * lengths_B.clamp(min=1))).clamp(min=0)


def gae(
    values_N: Tensor,
    rewards_N: Tensor,
    sequence_index_N: Tensor,
    *,
    gamma: float,
    lam: float | Tensor,
) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimation, Schulman et al. 2015 (arXiv:1506.02438), eq. 16.

    A_t = delta_t + gamma lambda A_(t+1), delta_t = r_t + gamma V_(t+1) - V_t, both 0 after a
    sequence's last token. Solved by doubling: after k rounds A_t holds 2^k terms of its sum, so
    the longest sequence of n tokens takes log2 n rounds over all N tokens at once.

    Args:
        values_N: [N] V before each trained token is chosen.
        rewards_N: [N] rewards of tokens, from `token_rewards`.
        sequence_index_N: [N] int64 ascending.
        gamma: discount per trained token, in [0, 1].
        lam: lambda in [0, 1], or [B] one a sequence (`length_adaptive_lambda`).

    Returns:
        [N] advantages, and [N] returns A + V, the value function's targets.
    """
    last_N = _last(sequence_index_N)
    following_N = torch.where(last_N, 0, values_N.roll(-1))
    advantages_N = rewards_N + gamma * following_N - values_N
    lam_N = lam[sequence_index_N] if isinstance(lam, Tensor) else torch.full_like(values_N, lam)
    factor_N = torch.where(last_N, 0, gamma * lam_N.to(values_N.dtype))
    longest = int(torch.bincount(sequence_index_N).max()) if len(values_N) else 0
    step = 1
    while step < longest:
        # A token's factor is 0 once its sum reaches the end of its sequence, so nothing passes
        # from one sequence to the one before it.
        ahead_N = torch.cat([advantages_N[step:], advantages_N.new_zeros(step)])
        advantages_N = advantages_N + factor_N * ahead_N
        factor_N = factor_N * torch.cat([factor_N[step:], factor_N.new_zeros(step)])
        step *= 2
    return advantages_N, advantages_N + values_N


def clipped_value_loss(
    values_N: Tensor, old_values_N: Tensor, returns_N: Tensor, *, clip: float | None
) -> Tensor:
    """Return [N] squared errors of the value function, halved, with PPO's clip.

    max((V - R)^2, (V_old + clip(V - V_old, -clip, clip) - R)^2) / 2, as in the code of Schulman et
    al. 2017 (OpenAI baselines); with `clip` None the first term alone.

    Args:
        values_N: [N] values, with gradient.
        old_values_N: [N] values that the advantages were computed with.
        returns_N: [N] targets from `gae`.
        clip: how far a value may move from the old one; None: as far as it likes.
    """
    squared_N = (values_N - returns_N) ** 2
    if clip is None:
        return squared_N / 2
    bounded_N = old_values_N + (values_N - old_values_N).clamp(-clip, clip)
    return torch.max(squared_N, (bounded_N - returns_N) ** 2) / 2
