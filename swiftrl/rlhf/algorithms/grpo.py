"""Group relative policy optimisation and the members of its family that differ by a flag."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from swiftrl.core.config import setting
from swiftrl.core.errors import ConfigError
from swiftrl.rlhf.algorithm import LossInputs, LossOutput
from swiftrl.rlhf.online import OnlineAlgorithm, RolloutConfig

if TYPE_CHECKING:
    from torch import Tensor

AVERAGES = {
    "grpo": "sequence", "bnpo": "token", "dapo": "token", "dr_grpo": "constant",
    "cispo": "token", "sapo": "sequence",
}  # fmt: skip
"""How the losses of tokens are averaged, by --loss_type."""
CISPO_BOUND = 5.0


@dataclass(frozen=True)
class GrpoConfig(RolloutConfig):
    """GRPO."""

    beta: float = setting(0.04, "Weight of the divergence from the reference; 0 needs none.")
    epsilon: float = setting(0.2, "Clip the ratio of probabilities below 1 minus this.")
    epsilon_high: float | None = setting(
        None,
        "Clip it above 1 plus this. Unset: --epsilon (DAPO takes 0.28). For cispo the bound "
        "itself, as in ms-swift and TRL. Unset: 5.",
    )
    delta: float | None = setting(
        None, "Bound of the ratio where the advantage is negative (dual clip, arXiv:1912.09729)."
    )
    loss_type: str = setting(
        "grpo",
        "grpo: mean of each reply, then of replies. bnpo, dapo: mean over tokens. dr_grpo: sum "
        "over tokens by --max_completion_length. cispo, sapo: losses of their own.",
        choices=tuple(AVERAGES),
    )
    advantage_estimator: str = setting(
        "grpo",
        "grpo: reward less the group's mean. rloo: less the mean of the others. "
        "reinforce_plus_plus: normalised over the whole step.",
        choices=("grpo", "rloo", "reinforce_plus_plus"),
    )
    scale_rewards: str | None = setting(
        None,
        "What a grpo advantage is divided by: the standard deviation of the group, of the batch "
        "(the whole step), or none. Unset: group, and none for dr_grpo.",
        choices=("group", "batch", "none"),
    )
    importance_sampling_level: str = setting(
        "token",
        "Ratio of each token, of the whole sequence (GSPO), or the sequence's with the token's "
        "gradient (GSPO-token).",
        choices=("token", "sequence", "sequence_token"),
    )
    tau_pos: float = setting(1.0, "SAPO's temperature where the advantage is positive.")
    tau_neg: float = setting(1.05, "SAPO's temperature where it is negative.")


class Grpo(OnlineAlgorithm[GrpoConfig]):
    """GRPO: replies that score better than the others to the same prompt become likelier.

    Every rollout is trained on once, by the policy that sampled it: the ratio of probabilities is
    1 and its gradient that of the log-probability, so that clipping bites only where the engine's
    arithmetic differs.
    """

    name = "grpo"
    summary = "Group relative policy optimisation: Dr.GRPO, DAPO's loss, GSPO, CISPO, SAPO, RLOO."
    paper = "arXiv:2402.03300"
    Config = GrpoConfig

    def __init__(self, config: GrpoConfig) -> None:
        super().__init__(config)
        _check(config)

    @property
    def needs_reference(self) -> bool:
        """Only the divergence from it does."""
        return self.config.beta != 0

    def advantages(self, rewards: Tensor, group_index: Tensor) -> Tensor:
        """Return the advantages of the estimator asked for."""
        from swiftrl.rlhf import advantages

        estimator = self.config.advantage_estimator
        if estimator == "rloo":
            return advantages.leave_one_out_advantages(rewards, group_index)
        if estimator == "reinforce_plus_plus":
            return advantages.reinforce_plus_plus_advantages(rewards)
        default = "none" if self.config.loss_type == "dr_grpo" else "group"
        scale = self.config.scale_rewards or default
        return advantages.group_advantages(rewards, group_index, scale=scale)  # type: ignore[arg-type]

    def loss(self, inputs: LossInputs) -> LossOutput:
        """Return the surrogate loss with its divergence from the reference."""
        from swiftrl.rlhf import surrogate

        config = self.config
        loss_N, clipped_N = self._surrogate(inputs)
        gap_N = (inputs.token_values["engine_logps"] - inputs.logps.detach()).abs()
        tokens = float(len(gap_N))
        metrics: dict[str, tuple[Tensor | float, Tensor | float]] = {
            "engine_gap": (gap_N.sum(), tokens),
            "clip_ratio": (clipped_N.float().sum(), tokens),
        }
        if inputs.ref_logps is not None:
            kl_N = surrogate.kl_estimate(inputs.logps, inputs.ref_logps, kind="k3")
            loss_N = loss_N + config.beta * kl_N
            metrics["kl"] = (kl_N.detach().sum(), tokens)
        total, count = surrogate.aggregate(
            loss_N,
            inputs.weights,
            inputs.sequence_index,
            inputs.num_sequences,
            how=AVERAGES[config.loss_type],  # type: ignore[arg-type]
            max_length=config.max_completion_length,
        )
        return LossOutput(total, count, metrics)

    def _surrogate(self, inputs: LossInputs) -> tuple[Tensor, Tensor]:
        """Return each token's loss [N] and whether its ratio is beyond the bounds."""
        import torch

        from swiftrl.rlhf import surrogate

        config = self.config
        advantage_N = inputs.sequence_values["advantages"][inputs.sequence_index]
        ratio_N = surrogate.log_ratios(
            inputs.logps,
            inputs.logps.detach(),
            inputs.sequence_index,
            inputs.num_sequences,
            level=config.importance_sampling_level,  # type: ignore[arg-type]
        )
        if config.loss_type == "cispo":
            beyond = (CISPO_BOUND if config.epsilon_high is None else config.epsilon_high) - 1
            loss_N = surrogate.cispo_surrogate(
                inputs.logps, ratio_N, advantage_N, epsilon_high=beyond
            )
            return loss_N, ratio_N.detach().exp() > 1 + beyond
        if config.loss_type == "sapo":
            loss_N = surrogate.sapo_surrogate(
                ratio_N, advantage_N, tau_pos=config.tau_pos, tau_neg=config.tau_neg
            )
            return loss_N, torch.zeros_like(loss_N, dtype=torch.bool)
        high = config.epsilon if config.epsilon_high is None else config.epsilon_high
        return surrogate.clipped_surrogate(
            ratio_N, advantage_N, epsilon=config.epsilon, epsilon_high=high, delta=config.delta
        )


def _check(config: GrpoConfig) -> None:
    if config.beta < 0:
        raise ConfigError(f"--beta {config.beta}: expected 0 or more.")
    if not 0 <= config.epsilon < 1:
        raise ConfigError(f"--epsilon {config.epsilon}: expected 0 up to 1.")
    if config.epsilon_high is not None and config.epsilon_high < 0:
        raise ConfigError(f"--epsilon_high {config.epsilon_high}: expected 0 or more.")
    if config.loss_type == "cispo" and (config.epsilon_high or CISPO_BOUND) <= 1:
        raise ConfigError(
            f"--epsilon_high {config.epsilon_high}: for cispo it is the bound of the ratio itself; "
            "expected more than 1, 5 for example."
        )
    high = config.epsilon if config.epsilon_high is None else config.epsilon_high
    if config.delta is not None and config.delta <= 1 + high:
        raise ConfigError(f"--delta {config.delta}: expected more than {1 + high}, the upper clip.")
    if config.tau_pos <= 0 or config.tau_neg <= 0:
        raise ConfigError("--tau_pos and --tau_neg: expected more than 0.")
    if config.scale_rewards and config.advantage_estimator != "grpo":
        raise ConfigError(
            f"--scale_rewards {config.scale_rewards}: the estimator "
            f"{config.advantage_estimator} scales in its own way; leave the flag."
        )


ALGORITHM = Grpo
