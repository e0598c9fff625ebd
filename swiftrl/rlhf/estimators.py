"""Advantages by the name of their estimator (`--advantage_estimator`).

Shape suffixes: B replies, N tokens of replies.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from swiftrl.rlhf import advantages
from swiftrl.rlhf.surrogate import kl_estimate

if TYPE_CHECKING:
    from torch import Tensor

    from swiftrl.rlhf.grpo_config import GrpoConfig
    from swiftrl.rlhf.judging import Rollout

__all__ = ["estimate", "penalised"]


def penalised(rollout: Rollout, beta: float) -> Rollout:
    """Return the rollout with beta KL(pi || ref) off its rewards, k1 summed over each reply."""
    old_N, ref_N = rollout.token_values["old_logps"], rollout.token_values["ref_logps"]
    kl_N = kl_estimate(old_N, ref_N, kind="k1")
    kl_B = kl_N.new_zeros(len(rollout.rewards_B)).index_add(0, rollout.sequence_index_N, kl_N)
    return replace(rollout, rewards_B=rollout.rewards_B - beta * kl_B)


def estimate(rollout: Rollout, config: GrpoConfig) -> Tensor:
    """Return [B] the advantages of the estimator asked for."""
    rewards_B, group_B, lengths_B = rollout.rewards_B, rollout.group_index_B, rollout.lengths_B
    default = "none" if config.loss_type == "dr_grpo" else "group"
    scale = config.scale_rewards or default
    match config.advantage_estimator:
        case "rloo":
            return advantages.leave_one_out_advantages(rewards_B, group_B)
        case "reinforce_plus_plus":
            return advantages.reinforce_plus_plus_advantages(rewards_B)
        case "reinforce_plus_plus_baseline":
            return advantages.reinforce_plus_plus_baseline_advantages(rewards_B, group_B)
        case "remax":
            assert rollout.greedy_P is not None
            return advantages.remax_advantages(rewards_B, group_B, rollout.greedy_P)
        case "opo":
            return advantages.opo_advantages(rewards_B, group_B, lengths_B)
        case "gpg":
            return advantages.gpg_advantages(rewards_B, group_B)
        case "gdpo":
            return advantages.gdpo_advantages(rollout.rewards_BF, group_B, rollout.reward_weights_F)
        case "pass_at_k":
            return advantages.pass_at_k_advantages(rewards_B, group_B)
        case _:
            return advantages.group_advantages(rewards_B, group_B, scale=scale)  # type: ignore[arg-type]
