"""Losses on given replies: pure functions of log-probabilities.

Shape suffixes: B pairs (or sequences), N tokens. All values are in nats and float32 or wider.
Unless a function says otherwise, `chosen_logratio_B` is [B], the sum over a reply's tokens of
log pi - log pi_ref, and the result is [B], one loss a pair, before any mean.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, relu

__all__ = [
    "aot_loss",
    "aot_unpaired_loss",
    "apo_down_loss",
    "apo_zero_loss",
    "bco_pair_loss",
    "dft_loss",
    "discopop_loss",
    "dpo_loss",
    "exo_pair_loss",
    "f_derivative",
    "hinge_loss",
    "ipo_loss",
    "length_desensitised_weights",
    "nca_pair_loss",
    "robust_dpo_loss",
    "sigmoid_norm_loss",
    "sppo_hard_loss",
]

LOG_RATIO_BOUND = 20.0
"""Log-ratios are clamped to this before any exp, so that sums of exp stay finite."""


def dpo_loss(
    chosen_logratio_B: Tensor,
    rejected_logratio_B: Tensor,
    *,
    beta: float,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Sigmoid preference loss, Rafailov et al. 2023 (arXiv:2305.18290), eq. 7.

    With label_smoothing = e it is conservative DPO (Mitchell 2023; eq. 5 of arXiv:2403.00409):
    labels are wrong with probability e.

    Args:
        chosen_logratio_B: [B] sum of log pi - log pi_ref over the chosen reply.
        rejected_logratio_B: [B] the same for the rejected reply.
        beta: scale of the implicit reward, > 0.
        label_smoothing: probability that a label is flipped, in [0, 0.5).

    Returns:
        [B] loss, nats.
    """
    logit_B = beta * (chosen_logratio_B - rejected_logratio_B)
    return -(1 - label_smoothing) * logsigmoid(logit_B) - label_smoothing * logsigmoid(-logit_B)


def f_derivative(logratio_B: Tensor, *, divergence: str, alpha: float = 0.5) -> Tensor:
    """Implicit reward of f-DPO over beta, Wang et al. 2023 (arXiv:2309.16240), table 1: f'(u).

    u = pi / pi_ref. reverse_kl: log u (+ 1, which cancels in a pair); forward_kl: -1/u;
    js_divergence: log(2u / (1 + u)); alpha_divergence: (1 - u^-alpha) / alpha.

    Deviations: forward_kl is 1 - 1/u here, so that every f' is 0 at u = 1 (differences of pairs are
    the same). TRL parametrises alpha_divergence by 1 - alpha of the paper:
    (u^(alpha - 1) - 1) / (alpha - 1), which is forward KL at 0 and reverse KL at 1; so do we.
    Exponents are bounded by 20.

    Args:
        logratio_B: [B] sum of log pi - log pi_ref over a reply.
        divergence: one of the four.
        alpha: of alpha_divergence.

    Returns:
        [B], the log-ratio itself for reverse_kl.
    """
    if divergence == "js_divergence":
        return logsigmoid(logratio_B) + math.log(2)
    power = {"reverse_kl": 0.0, "forward_kl": -1.0, "alpha_divergence": alpha - 1}[divergence]
    if power == 0:
        return logratio_B
    return torch.expm1((power * logratio_B).clamp(max=LOG_RATIO_BOUND)) / power


def robust_dpo_loss(
    chosen_logratio_B: Tensor, rejected_logratio_B: Tensor, *, beta: float, label_smoothing: float
) -> Tensor:
    """Robust DPO, Chowdhury et al. 2024 (arXiv:2403.00409), eq. 10.

    Unbiased when labels are flipped with probability `label_smoothing` < 0.5; it may be negative.
    """
    logit_B = beta * (chosen_logratio_B - rejected_logratio_B)
    clean_B = -(1 - label_smoothing) * logsigmoid(logit_B)
    flipped_B = -label_smoothing * logsigmoid(-logit_B)
    return (clean_B - flipped_B) / (1 - 2 * label_smoothing)


def ipo_loss(
    chosen_mean_logratio_B: Tensor, rejected_mean_logratio_B: Tensor, *, beta: float
) -> Tensor:
    """Identity preference optimisation, Azar et al. 2023 (arXiv:2310.12036), eq. 17; tau = beta.

    Deviation: log-ratios are means over a reply's tokens, not sums. The paper leaves this open;
    its authors confirmed the mean as their own reading, since sums scale with length.

    Args:
        chosen_mean_logratio_B: [B] mean over the chosen reply's tokens of log pi - log pi_ref.
        rejected_mean_logratio_B: [B] the same for the rejected reply.
        beta: tau of the paper, > 0.
    """
    return (chosen_mean_logratio_B - rejected_mean_logratio_B - 1 / (2 * beta)) ** 2


def sigmoid_norm_loss(
    chosen_mean_logratio_B: Tensor, rejected_mean_logratio_B: Tensor, *, beta: float
) -> Tensor:
    """Length-normalised DPO, Lambert et al. 2024 (Tulu 3, arXiv:2411.15124), eq. 6."""
    return -logsigmoid(beta * (chosen_mean_logratio_B - rejected_mean_logratio_B))


def hinge_loss(chosen_logratio_B: Tensor, rejected_logratio_B: Tensor, *, beta: float) -> Tensor:
    """Hinge on the DPO logit: SLiC-HF (arXiv:2305.10425), RSO's form (arXiv:2309.06657)."""
    return relu(1 - beta * (chosen_logratio_B - rejected_logratio_B))


def exo_pair_loss(
    chosen_logratio_B: Tensor, rejected_logratio_B: Tensor, *, beta: float, label_smoothing: float
) -> Tensor:
    """Efficient exact optimisation on pairs, Ji et al. 2024 (arXiv:2402.00856), eq. 16.

    The reverse KL from softmax(beta * log-ratios) over the pair to (1 - e, e),
    e = label_smoothing in (0, 0.5).
    """
    logit_B = beta * (chosen_logratio_B - rejected_logratio_B)
    smoothing_B = torch.full_like(logit_B, label_smoothing)
    chosen_B = logit_B.sigmoid() * (logsigmoid(logit_B) - torch.log1p(-smoothing_B))
    rejected_B = (-logit_B).sigmoid() * (logsigmoid(-logit_B) - torch.log(smoothing_B))
    return chosen_B + rejected_B


def nca_pair_loss(chosen_logratio_B: Tensor, rejected_logratio_B: Tensor, *, beta: float) -> Tensor:
    """Noise contrastive alignment on pairs, Chen et al. 2024 (arXiv:2402.05369), eq. 14, K = 2."""
    chosen_B, rejected_B = beta * chosen_logratio_B, beta * rejected_logratio_B
    return -logsigmoid(chosen_B) - 0.5 * logsigmoid(-chosen_B) - 0.5 * logsigmoid(-rejected_B)


def bco_pair_loss(
    chosen_logratio_B: Tensor,
    rejected_logratio_B: Tensor,
    *,
    beta: float,
    delta: float | Tensor = 0.0,
) -> Tensor:
    """Binary classifier optimisation on pairs, Jung et al. 2024 (arXiv:2404.04656), eq. 9.

    Args:
        chosen_logratio_B: [B] as for DPO.
        rejected_logratio_B: [B] as for DPO.
        beta: scale of the implicit reward, > 0.
        delta: reward shift: the running mean of both replies' rewards; no gradient.
    """
    chosen_B = beta * chosen_logratio_B - delta
    rejected_B = beta * rejected_logratio_B - delta
    return -logsigmoid(chosen_B) - logsigmoid(-rejected_B)


def sppo_hard_loss(
    chosen_logratio_B: Tensor, rejected_logratio_B: Tensor, *, beta: float
) -> Tensor:
    """Self-play preference optimisation, Wu et al. 2024 (arXiv:2405.00675), eq. 4.7.

    P(chosen wins) is taken as 1 and P(rejected wins) as 0; eta = 1 / beta.
    """
    return (chosen_logratio_B - 0.5 / beta) ** 2 + (rejected_logratio_B + 0.5 / beta) ** 2


def apo_zero_loss(chosen_logratio_B: Tensor, rejected_logratio_B: Tensor, *, beta: float) -> Tensor:
    """Anchored preference optimisation, zero, D'Oosterlinck et al. 2024 (arXiv:2408.06266), eq. 7.

    For chosen replies better than the model's own: chosen up, rejected down.
    """
    return (-beta * chosen_logratio_B).sigmoid() + (beta * rejected_logratio_B).sigmoid()


def apo_down_loss(chosen_logratio_B: Tensor, rejected_logratio_B: Tensor, *, beta: float) -> Tensor:
    """Anchored preference optimisation, down (arXiv:2408.06266), eq. 8.

    For chosen replies worse than the model's own: both down, rejected further.
    """
    margin_B = beta * (chosen_logratio_B - rejected_logratio_B)
    return (beta * chosen_logratio_B).sigmoid() + (-margin_B).sigmoid()


def discopop_loss(
    chosen_logratio_B: Tensor, rejected_logratio_B: Tensor, *, beta: float, tau: float
) -> Tensor:
    """Log-ratio modulated loss found by DiscoPOP, Lu et al. 2024 (arXiv:2406.08414), eq. 5.

    Args:
        chosen_logratio_B: [B] as for DPO.
        rejected_logratio_B: [B] as for DPO.
        beta: scale of the implicit reward, > 0.
        tau: temperature of the gate between logistic and exponential loss (paper: 0.05).

    Deviation: the exponent is bounded by 20, where the loss is astronomically large already.
    """
    logit_B = beta * (chosen_logratio_B - rejected_logratio_B)
    gate_B = (logit_B / tau).sigmoid()
    exponential_B = torch.exp((-logit_B).clamp(max=LOG_RATIO_BOUND))
    return -logsigmoid(logit_B) * (1 - gate_B) + exponential_B * gate_B


def aot_loss(
    policy_delta_B: Tensor, reference_delta_B: Tensor, *, beta: float, label_smoothing: float = 0.0
) -> Tensor:
    """Alignment by optimal transport, paired, Melnyk et al. 2024 (arXiv:2406.05882), eq. 8.

    Quantiles of the policy's margins are held against quantiles of the reference's, so B must
    be the whole batch of the optimizer step.

    Args:
        policy_delta_B: [B] log pi(chosen) - log pi(rejected).
        reference_delta_B: [B] the same of the reference.
        beta: scale, > 0.
        label_smoothing: as for DPO.

    Returns:
        [B] loss by quantile (not by pair), nats.
    """
    delta_B = policy_delta_B.sort().values - reference_delta_B.sort().values
    return dpo_loss(delta_B, torch.zeros_like(delta_B), beta=beta, label_smoothing=label_smoothing)


def aot_unpaired_loss(
    chosen_logratio_B: Tensor,
    rejected_logratio_B: Tensor,
    *,
    beta: float,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Alignment by optimal transport, unpaired (arXiv:2406.05882), eq. 7: sorted apart.

    B must be the whole batch of the optimizer step; the loss is by quantile, not by pair.
    """
    return dpo_loss(
        chosen_logratio_B.sort().values,
        rejected_logratio_B.sort().values,
        beta=beta,
        label_smoothing=label_smoothing,
    )


def length_desensitised_weights(
    sequence_index_N: Tensor, num_sequences: int, *, alpha: float
) -> Tensor:
    """Token weights of LD-DPO, Liu et al. 2024 (arXiv:2409.06411), eq. 10.

    Tokens up to the length of the pair's shorter reply count 1, the rest `alpha`. They apply to
    policy and reference alike.

    Args:
        sequence_index_N: [N] int64 ascending; 2p is the chosen and 2p + 1 the rejected reply.
        num_sequences: 2 * pairs.
        alpha: weight of the excess, in [0, 1]; 1 is plain DPO.

    Returns:
        [N] float32 weights.
    """
    lengths_B = torch.bincount(sequence_index_N, minlength=num_sequences)
    starts_B = lengths_B.cumsum(0) - lengths_B
    arange_N = torch.arange(len(sequence_index_N), device=sequence_index_N.device)
    position_N = arange_N - starts_B[sequence_index_N]
    shared_B = lengths_B.view(-1, 2).amin(dim=1).repeat_interleave(2)
    excess_N = position_N >= shared_B[sequence_index_N]
    return torch.where(excess_N, alpha, 1.0)


def dft_loss(logps_N: Tensor) -> Tensor:
    """Dynamic fine-tuning, Wu et al. 2025 (arXiv:2508.05629), eq. 9: -p log p, p without gradient.

    Args:
        logps_N: [N] log pi(token), nats.

    Returns:
        [N] loss by token.
    """
    return -logps_N.detach().exp() * logps_N
