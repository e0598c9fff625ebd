"""Surrogate losses of online reinforcement learning: pure functions of token log-probabilities.

Shape suffixes: B sequences, N trained tokens. `logps_N` is [N] log pi(token) with gradient,
`old_logps_N` [N] that of the policy which the update starts from (no gradient), `sequence_index_N`
[N] int64 ascending, `advantage_N` [N] each token's advantage (its reply's, or GAE's). Everything
is in nats and float32 or wider: half precision is widened first. Results are [N], one loss a
token, before any mean; `aggregate` makes the sum and the count that `LossOutput` wants.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

__all__ = [
    "LOG_RATIO_BOUND",
    "Aggregation",
    "KLKind",
    "RatioLevel",
    "aggregate",
    "cispo_surrogate",
    "clipped_surrogate",
    "gmpo_surrogate",
    "kl_estimate",
    "log_ratios",
    "reinforce_surrogate",
    "sapo_surrogate",
    "sequence_means",
]

RatioLevel = Literal["token", "sequence", "sequence_token", "sequence_sum"]
Aggregation = Literal["token", "sequence", "constant"]
KLKind = Literal["k1", "k2", "k3", "k1+", "k3+"]

LOG_RATIO_BOUND = 20.0
"""Log-ratios are clamped to this before any exp: e^20 = 4.9e8 is finite where e^100 is not."""


def _wide(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))


def sequence_means(values_N: Tensor, sequence_index_N: Tensor, num_sequences: int) -> Tensor:
    """Return [B] means over each sequence's tokens; 0 for a sequence without tokens."""
    lengths_B = torch.bincount(sequence_index_N, minlength=num_sequences).clamp(min=1)
    sums_B = values_N.new_zeros(num_sequences).index_add(0, sequence_index_N, values_N)
    return sums_B / lengths_B


def log_ratios(
    logps_N: Tensor,
    old_logps_N: Tensor,
    sequence_index_N: Tensor,
    num_sequences: int,
    *,
    level: RatioLevel,
) -> Tensor:
    """Log of the importance ratio pi / pi_old of each token, clamped to +-20.

    Beyond the clamp there is no gradient.

    Args:
        logps_N: [N] log pi(token), with gradient.
        old_logps_N: [N] log pi_old(token).
        sequence_index_N: [N] int64 ascending.
        num_sequences: B.
        level: "token": of the token (PPO, GRPO). "sequence": mean over the reply's tokens, the
            same for each of them (GSPO, arXiv:2507.18071, eq. 7). "sequence_token": the value of
            "sequence", the gradient of each token's own log-probability (GSPO-token, eq. 14).
            "sequence_sum": sum over the reply's tokens, the reply being one action (RLOO,
            arXiv:2402.14740, as TRL's clipped form has it).

    Returns:
        [N] log-ratios, float32 or wider.
    """
    own_N = _wide(logps_N) - _wide(old_logps_N).detach()
    if level == "token":
        return own_N.clamp(-LOG_RATIO_BOUND, LOG_RATIO_BOUND)
    if level not in ("sequence", "sequence_token", "sequence_sum"):
        raise ValueError(
            f"level is {level!r}; expected token, sequence, sequence_token or sequence_sum"
        )
    shared_B = sequence_means(own_N, sequence_index_N, num_sequences)
    if level == "sequence_sum":
        shared_B = shared_B * torch.bincount(sequence_index_N, minlength=num_sequences)
    shared_N = shared_B[sequence_index_N]
    if level == "sequence_token":
        shared_N = shared_N.detach() + own_N - own_N.detach()
    return shared_N.clamp(-LOG_RATIO_BOUND, LOG_RATIO_BOUND)


def clipped_surrogate(
    log_ratio_N: Tensor,
    advantage_N: Tensor,
    *,
    epsilon: float,
    epsilon_high: float | None = None,
    delta: float | None = None,
) -> tuple[Tensor, Tensor]:
    """PPO's clipped loss, Schulman et al. 2017 (arXiv:1707.06347), eq. 7; GRPO's and DAPO's too.

    -min(r A, clip(r, 1 - epsilon, 1 + epsilon_high) A); with `delta` no less than delta A where
    A < 0 (dual clip, Ye et al. 2019, arXiv:1912.09729), which bounds the loss of a token
    that became much likelier though it was bad.

    Args:
        log_ratio_N: [N] from `log_ratios`.
        advantage_N: [N] advantages.
        epsilon: how far the ratio may fall below 1.
        epsilon_high: how far it may rise above 1 (clip-higher of DAPO, arXiv:2503.14476, eq. 10);
            None: epsilon.
        delta: bound of the ratio where A < 0, above 1 + epsilon_high; None: no bound.

    Returns:
        [N] loss, and [N] bool: the token is clipped and has no gradient.
    """
    ratio_N = log_ratio_N.exp()
    lowest, highest = 1 - epsilon, 1 + (epsilon if epsilon_high is None else epsilon_high)
    loss_N = -torch.min(ratio_N * advantage_N, ratio_N.clamp(lowest, highest) * advantage_N)
    bad_N = advantage_N < 0
    clipped_N = torch.where(bad_N, ratio_N < lowest, (ratio_N > highest) & (advantage_N > 0))
    if delta is not None:
        beyond_N = bad_N & (ratio_N > delta)
        loss_N = torch.where(beyond_N, -delta * advantage_N, loss_N)
        clipped_N = clipped_N | beyond_N
    return loss_N, clipped_N


def cispo_surrogate(
    logps_N: Tensor, log_ratio_N: Tensor, advantage_N: Tensor, *, epsilon_high: float
) -> Tensor:
    """CISPO: clipped ratios as weights, MiniMax 2025 (arXiv:2506.13585), eq. 4.

    -sg(min(r, 1 + epsilon_high)) A log pi: every token keeps its gradient, however far the policy
    has moved. There is no lower bound, as in the paper's experiments.

    The bound is relative to 1, as the paper writes it. TRL and ms-swift take `epsilon_high` as the
    bound itself: their 5.0 is 4.0 here.

    Args:
        logps_N: [N] log pi(token), with gradient.
        log_ratio_N: [N] from `log_ratios`; its gradient is not used.
        advantage_N: [N] advantages.
        epsilon_high: how far above 1 a weight may rise.

    Returns:
        [N] loss.
    """
    weight_N = log_ratio_N.detach().exp().clamp(max=1 + epsilon_high)
    return -weight_N * advantage_N * _wide(logps_N)


def sapo_surrogate(
    log_ratio_N: Tensor, advantage_N: Tensor, *, tau_pos: float, tau_neg: float
) -> Tensor:
    """SAPO: a soft gate instead of the clip, Gao et al. 2025 (arXiv:2511.20347).

    -(4 / tau) sigmoid(tau (r - 1)) A, tau = tau_pos where A > 0 and tau_neg elsewhere. At r = 1
    its gradient is that of the unclipped loss; away from 1 it fades, the faster the larger tau.

    Args:
        log_ratio_N: [N] from `log_ratios`.
        advantage_N: [N] advantages.
        tau_pos: steepness for good tokens (paper: 1.0).
        tau_neg: steepness for bad tokens (paper: 1.05).

    Returns:
        [N] loss.
    """
    tau_N = torch.where(advantage_N > 0, tau_pos, tau_neg).to(log_ratio_N.dtype)
    return -(4 / tau_N) * (tau_N * (log_ratio_N.exp() - 1)).sigmoid() * advantage_N


def gmpo_surrogate(
    log_ratio_N: Tensor,
    advantage_N: Tensor,
    sequence_index_N: Tensor,
    num_sequences: int,
    *,
    epsilon: float,
    epsilon_high: float | None = None,
) -> tuple[Tensor, Tensor]:
    """GMPO: the geometric mean of clipped ratios, Zhao et al. 2025 (arXiv:2507.20673).

    Each token's log-ratio is clipped to [-epsilon, epsilon_high] on the side that PPO clips (above
    where A > 0, below where A < 0), then averaged over the reply: -exp(mean) A. The paper clips
    tokens, not sequences, and ratios to (e^-0.4, e^0.4): epsilon is in log space, 0.4.

    Args:
        log_ratio_N: [N] from `log_ratios` at level "token".
        advantage_N: [N] advantages, the same for all tokens of a reply.
        sequence_index_N: [N] int64 ascending.
        num_sequences: B.
        epsilon: how far a log-ratio may fall below 0.
        epsilon_high: how far it may rise above 0; None: epsilon.

    Returns:
        [N] the reply's loss at each of its tokens (aggregate by "sequence"), and [N] bool: the
        token is clipped.
    """
    highest = epsilon if epsilon_high is None else epsilon_high
    above_N = (log_ratio_N > highest) & (advantage_N > 0)
    below_N = (log_ratio_N < -epsilon) & (advantage_N < 0)
    bounded_N = log_ratio_N.clamp(-epsilon, highest)
    kept_N = torch.where(above_N | below_N, bounded_N, log_ratio_N)
    mean_N = sequence_means(kept_N, sequence_index_N, num_sequences)[sequence_index_N]
    return -mean_N.exp() * advantage_N, above_N | below_N


def reinforce_surrogate(logps_N: Tensor, advantage_N: Tensor) -> Tensor:
    """REINFORCE: -A log pi, Williams 1992; no ratio, for on-policy updates and GPG."""
    return -advantage_N * _wide(logps_N)


def kl_estimate(logps_N: Tensor, ref_logps_N: Tensor, *, kind: KLKind) -> Tensor:
    """Estimate KL(pi || ref) at each token from samples of pi, Schulman 2020 ("Approximating KL").

    With x = log ref - log pi. Values (means over samples) and gradients (as a loss, per token):

    - "k1": -x. Unbiased, high variance. Gradient grad log pi, whose expectation is 0: of use in
      rewards, useless as a loss.
    - "k2": x^2 / 2. Biased, low variance. Gradient -x grad log pi: that of KL(pi || ref), unbiased.
    - "k3": e^x - 1 - x. Unbiased, low variance, never negative (GRPO, arXiv:2402.03300, eq. 4).
      Gradient (1 - e^x) grad log pi: in expectation that of KL(ref || pi), the other direction.
    - "k1+", "k3+": the value of k1 or k3 with the gradient of k2, straight-through.

    x is clamped to 20 above before exp (and then has no gradient in k3).

    Args:
        logps_N: [N] log pi(token), with gradient.
        ref_logps_N: [N] log ref(token).
        kind: the estimator.

    Returns:
        [N] estimates, nats.
    """
    x_N = _wide(ref_logps_N).detach() - _wide(logps_N)
    if kind in ("k1+", "k3+"):
        value_N = kl_estimate(logps_N.detach(), ref_logps_N, kind="k1" if kind == "k1+" else "k3")
        square_N = x_N**2 / 2
        return value_N + square_N - square_N.detach()
    if kind == "k1":
        return -x_N
    if kind == "k2":
        return x_N**2 / 2
    if kind == "k3":
        bounded_N = x_N.clamp(max=LOG_RATIO_BOUND)
        return bounded_N.expm1() - bounded_N
    raise ValueError(f"kind is {kind!r}; expected k1, k2, k3, k1+ or k3+")


def aggregate(
    values_N: Tensor,
    weights_N: Tensor,
    sequence_index_N: Tensor,
    num_sequences: int,
    *,
    how: Aggregation,
    max_length: int | None = None,
) -> tuple[Tensor, float]:
    """Return the sum and the count of a micro-batch; sums over counts of the step are its loss.

    Counts depend on what is there, not on weights, so that a weight acts as written, and dividing
    once by the global count gives the same loss however the step is divided.

    Args:
        values_N: [N] losses of tokens.
        weights_N: [N] their weights (0 drops a token's loss, but not the token from the count).
        sequence_index_N: [N] int64 ascending.
        num_sequences: B, those without tokens included.
        how: "token": sum over tokens, counted in tokens (DAPO, arXiv:2503.14476, eq. 12; BNPO).
            "sequence": sum of each sequence's mean, counted in sequences (GRPO, arXiv:2402.03300,
            eq. 3). "constant": sum over tokens / `max_length`, counted in sequences (Dr.GRPO,
            arXiv:2503.20783).
        max_length: the longest reply that may be generated; needed by "constant".

    Returns:
        Scalar sum with gradient, and the count.
    """
    weighted_N = weights_N * values_N
    if how == "token":
        return weighted_N.sum(), float(len(values_N))
    if how == "sequence":
        means_B = sequence_means(weighted_N, sequence_index_N, num_sequences)
        return means_B.sum(), float(num_sequences)
    if how == "constant" and max_length is not None:
        return weighted_N.sum() / max_length, float(num_sequences)
    raise ValueError(
        f"how is {how!r} and max_length {max_length}; expected token, sequence, or constant with "
        "a max_length"
    )
