"""Importance weights for the gap between the engine that sampled and the trainer that learns.

Engines compute in other kernels, and often in lower precision, than the trainer, so that tokens
come from a distribution that is not quite the policy's. Shape suffixes: B sequences, N trained
tokens.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from swiftrl.rlhf.surrogate import LOG_RATIO_BOUND, kl_estimate, sequence_means

__all__ = ["RolloutCorrection", "engine_corrections"]

RolloutCorrection = Literal["token_truncate", "token_mask", "sequence_truncate", "sequence_mask"]


def engine_corrections(
    old_logps_N: Tensor,
    engine_logps_N: Tensor,
    sequence_index_N: Tensor,
    num_sequences: int,
    *,
    mode: RolloutCorrection,
    cap: float,
    sequence_ratio: Literal["mean", "sum"] = "mean",
) -> tuple[Tensor, dict[str, tuple[Tensor, float]]]:
    """Return what each token's loss is multiplied by, and what to watch.

    r = pi_trainer(token) / pi_engine(token), both of the weights that sampled. A sequence's ratio
    R is the geometric mean of its r ("mean", as in ms-swift) or their product ("sum", as in TRL;
    unbiased, and useless beyond some tens of tokens).

    - "token_truncate": min(r, cap): truncated importance sampling (Yao et al. 2025, "Your
      efficient RL framework secretly brings you off-policy RL training").
    - "token_mask": r where r <= cap, else 0: masked importance sampling.
    - "sequence_truncate": min(R, cap), the same for all tokens of a sequence.
    - "sequence_mask": r where its sequence has R <= cap, else 0 (Liu et al. 2025, "When speed
      kills stability"). The sequence is kept or not; the weight stays the token's own, as in
      ms-swift. TRL puts R in its place.

    A token whose engine log-probability is unknown (NaN) counts as r = 1.

    Args:
        old_logps_N: [N] the trainer's log-probabilities under the weights that sampled.
        engine_logps_N: [N] those the engine gave, NaN where it gave none.
        sequence_index_N: [N] int64 ascending.
        num_sequences: B.
        mode: which weights.
        cap: the largest weight.
        sequence_ratio: how a sequence's ratio is made.

    Returns:
        [N] weights without gradient, and metrics by name as (sum, count): "engine_gap" mean
        |log r|, "engine_kl" KL(engine || trainer) by k3, "importance_weight" mean weight,
        "importance_capped" share of tokens cut or dropped, "engine_unknown" share without engine
        log-probability.
    """
    engine_logps_N = engine_logps_N.detach().float()
    known_N = ~engine_logps_N.isnan()
    old_logps_N = old_logps_N.detach().float()
    engine_logps_N = torch.where(known_N, engine_logps_N, old_logps_N)
    gap_N = old_logps_N - engine_logps_N
    own_N = gap_N.clamp(-LOG_RATIO_BOUND, LOG_RATIO_BOUND).exp()
    level, _, action = mode.partition("_")
    ratio_N = own_N
    if level == "sequence":
        log_B = sequence_means(gap_N, sequence_index_N, num_sequences)
        if sequence_ratio == "sum":
            log_B = log_B * torch.bincount(sequence_index_N, minlength=num_sequences)
        ratio_N = log_B.clamp(-LOG_RATIO_BOUND, LOG_RATIO_BOUND).exp()[sequence_index_N]
    capped_N = ratio_N > cap
    if action == "truncate":
        weights_N = ratio_N.clamp(max=cap)
    elif action == "mask":
        weights_N = torch.where(capped_N, 0, own_N)
    else:
        raise ValueError(f"mode is {mode!r}; expected token or sequence, _, truncate or mask")
    count, known = float(len(gap_N)), known_N.sum().item()
    # Samples are the engine's, so that it stands where the estimator wants its policy.
    divergence_N = kl_estimate(engine_logps_N, old_logps_N, kind="k3")
    return weights_N, {
        "engine_gap": (gap_N.abs().sum(), known),
        "engine_kl": (divergence_N.sum(), known),
        "importance_weight": (weights_N.sum(), count),
        "importance_capped": (capped_N.sum(), count),
        "engine_unknown": ((~known_N).sum(), count),
    }
