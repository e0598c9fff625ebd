"""The loss of each token by the name of its kind (`--loss_type`).

Shape suffixes: N trained tokens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from swiftrl.rlhf import surrogate, token_selection
from swiftrl.rlhf.grpo_config import CISPO_BOUND

if TYPE_CHECKING:
    from swiftrl.rlhf.algorithm import LossInputs
    from swiftrl.rlhf.grpo_config import GrpoConfig

__all__ = ["old_logps", "token_losses"]


def old_logps(inputs: LossInputs) -> Tensor:
    """Return [N] log-probabilities under the weights that sampled; the present ones, if the same.

    Where a rollout is trained on once, nobody asks for them beforehand.
    """
    return inputs.token_values.get("old_logps", inputs.logps.detach())


def token_losses(inputs: LossInputs, config: GrpoConfig) -> tuple[Tensor, Tensor]:
    """Return each token's loss [N], and [N] bool: it was clipped, dropped or penalised."""
    advantage_N = inputs.sequence_values["advantages"][inputs.sequence_index]
    if config.loss_type == "gpg":
        loss_N = surrogate.reinforce_surrogate(inputs.logps, advantage_N)
        return loss_N, torch.zeros_like(loss_N, dtype=torch.bool)
    ratio_N = surrogate.log_ratios(
        inputs.logps,
        old_logps(inputs),
        inputs.sequence_index,
        inputs.num_sequences,
        level=config.importance_sampling_level,  # type: ignore[arg-type]
    )
    if config.loss_type == "cispo":
        beyond = (CISPO_BOUND if config.epsilon_high is None else config.epsilon_high) - 1
        loss_N = surrogate.cispo_surrogate(inputs.logps, ratio_N, advantage_N, epsilon_high=beyond)
        return loss_N, ratio_N.detach().exp() > 1 + beyond
    if config.loss_type == "sapo":
        loss_N = surrogate.sapo_surrogate(
            ratio_N, advantage_N, tau_pos=config.tau_pos, tau_neg=config.tau_neg
        )
        return loss_N, torch.zeros_like(loss_N, dtype=torch.bool)
    if config.loss_type == "gmpo":
        return surrogate.gmpo_surrogate(
            ratio_N,
            advantage_N,
            inputs.sequence_index,
            inputs.num_sequences,
            epsilon=config.epsilon,
            epsilon_high=config.epsilon_high,
        )
    if config.loss_type == "kl_cov":
        return _kl_cov(inputs, ratio_N, advantage_N, config)
    loss_N, clipped_N = surrogate.clipped_surrogate(
        ratio_N,
        advantage_N,
        epsilon=config.epsilon,
        epsilon_high=config.epsilon_high,
        delta=config.delta,
    )
    if config.loss_type == "clip_cov":
        return _clip_cov(inputs, loss_N, clipped_N, advantage_N, config)
    return loss_N, clipped_N


def _kl_cov(
    inputs: LossInputs, ratio_N: Tensor, advantage_N: Tensor, config: GrpoConfig
) -> tuple[Tensor, Tensor]:
    covariance_N = token_selection.token_covariances(inputs.logps, advantage_N)
    chosen_N = token_selection.kl_cov_mask(covariance_N, fraction=config.kl_cov_ratio)
    loss_N = token_selection.kl_cov_surrogate(
        ratio_N, advantage_N, chosen_N, coefficient=config.kl_cov_coef
    )
    return loss_N, chosen_N


def _clip_cov(
    inputs: LossInputs,
    loss_N: Tensor,
    clipped_N: Tensor,
    advantage_N: Tensor,
    config: GrpoConfig,
) -> tuple[Tensor, Tensor]:
    covariance_N = token_selection.token_covariances(inputs.logps, advantage_N)
    chosen_N = token_selection.clip_cov_mask(
        covariance_N,
        inputs.token_values["chance"],
        fraction=config.clip_cov_ratio,
        low=config.clip_cov_low,
        high=config.clip_cov_high,
        candidates_N=~clipped_N,
    )
    return torch.where(chosen_N, 0, loss_N), clipped_N | chosen_N
