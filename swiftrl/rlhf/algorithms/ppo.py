"""Proximal policy optimisation with a learnt value of every token; VAPO by its settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from swiftrl.core.config import setting
from swiftrl.core.errors import ConfigError
from swiftrl.rlhf.algorithm import LossInputs, LossOutput
from swiftrl.rlhf.judging import Judged, Rollout
from swiftrl.rlhf.online import OnlineAlgorithm, Reading, RolloutConfig

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["ALGORITHM", "Ppo", "PpoConfig"]


@dataclass(frozen=True)
class PpoConfig(RolloutConfig):
    """PPO."""

    num_generations: int = setting(1, "Replies to each prompt.")
    num_iterations: int = setting(
        4, "Passes over the replies of a rollout.", aliases=("num_ppo_epochs",)
    )
    kl_coef: float = setting(0.05, "Weight of the divergence from the reference; 0 needs none.")
    kl_in_reward: bool = setting(
        True, "Take the divergence (k1) off each token's reward; false adds it (k3) to the loss."
    )
    cliprange: float = setting(0.2, "Clip the ratio of probabilities below 1 minus this.")
    cliprange_high: float | None = setting(None, "Clip it above 1 plus this. Unset: --cliprange.")
    vf_coef: float = setting(0.1, "Weight of the loss of values.")
    cliprange_value: float | None = setting(
        0.2, "How far a value may move from where it was in the rollout; -1: as far as it likes."
    )
    gamma: float = setting(1.0, "Discount a token.")
    lam: float = setting(0.95, "Lambda of generalised advantage estimation.")
    lam_value: float | None = setting(
        None, "Lambda of the values' targets (VAPO takes 1). Unset: --lam."
    )
    length_adaptive_alpha: float | None = setting(
        None, "Lambda of advantages 1 - 1 / (this x length) instead of --lam (VAPO: 0.05)."
    )
    whiten_rewards: bool = setting(False, "Scale the tokens' rewards of a rollout to variance 1.")
    whiten_advantages: bool = setting(True, "Shift and scale its advantages to mean 0, variance 1.")
    missing_eos_penalty: float = setting(0.0, "Off the reward of a reply that was cut off.")
    detach_values: bool = setting(
        False, "Values train their head alone, not the model below it, which they share."
    )
    value_warmup_rollouts: int = setting(
        0, "First rollouts that train values alone (VAPO); needs --detach_values true."
    )
    positive_lm_coef: float = setting(
        0.0, "Weight of the likelihood of replies with a reward above 0 (VAPO: 0.1)."
    )


class Ppo(OnlineAlgorithm[PpoConfig]):
    """PPO: a head on the model learns what each token is worth, and replies are judged by it.

    The critic is a linear head on the policy's last hidden states, so that values cost no second
    model and no second pass. It is kept in checkpoints, not in the model's files.
    """

    name = "ppo"
    summary = "Proximal policy optimisation with a value head (GAE); VAPO by its settings."
    paper = "arXiv:1707.06347"
    Config = PpoConfig
    least_replies = 1

    def __init__(self, config: PpoConfig) -> None:
        super().__init__(config)
        _check(config)
        self.rollouts = 0

    @property
    def needs_reference(self) -> bool:
        """Only the divergence from it does."""
        return self.config.kl_coef != 0

    @property
    def values(self) -> str:
        """Values come with the log-probabilities."""
        return "detached" if self.config.detach_values else "shared"

    @property
    def reads(self) -> frozenset[Reading]:
        """Values and log-probabilities as of when the replies were sampled."""
        wanted: set[Reading] = {"old_logps", "values"}
        if self._penalises:
            wanted.add("ref_logps")
        return frozenset(wanted)

    @property
    def _penalises(self) -> bool:
        return self.config.kl_coef != 0 and self.config.kl_in_reward

    def judge(self, rollout: Rollout) -> Judged:
        """Return each token's advantage and the target of its value.

        Replies that could not be scored count for nothing.
        """
        import torch

        from swiftrl.rlhf.gae import whiten

        index_N = rollout.sequence_index_N
        scorable_B = ~rollout.rewards_B.isnan()
        scorable_N = scorable_B[index_N]
        rewards_N, kl_N = self._rewards(rollout)
        advantages_N, returns_N = self._estimates(rollout, rewards_N)
        if self.config.whiten_advantages:
            advantages_N = whiten(advantages_N, scorable_N)
        learns = self.rollouts >= self.config.value_warmup_rollouts
        advantages_N = torch.where(scorable_N, advantages_N, 0) * learns
        self.rollouts += 1
        counted, tokens = float(scorable_N.sum()), float(len(index_N))
        values_N = rollout.token_values["values"]
        errors_N = torch.where(scorable_N, (returns_N - values_N).abs(), 0)
        metrics = {
            "value_error": (float(errors_N.sum()), counted),
            "returns": (float(torch.where(scorable_N, returns_N, 0).sum()), counted),
            "kl_in_reward": (float(kl_N.sum()), tokens),
        }
        mean_B = advantages_N.new_zeros(len(scorable_B)).index_add(0, index_N, advantages_N)
        return Judged(
            {
                "advantages": mean_B / rollout.lengths_B,
                "scorable": scorable_B.float(),
                "positive": self._positive(rollout) * learns,
            },
            {"advantages": advantages_N, "returns": returns_N},
            metrics,
        )

    def _rewards(self, rollout: Rollout) -> tuple[Tensor, Tensor]:
        """Return the tokens' rewards [N], and what the divergence took off them."""
        from swiftrl.rlhf.gae import token_rewards, whiten
        from swiftrl.rlhf.surrogate import kl_estimate

        tokens, index_N = rollout.token_values, rollout.sequence_index_N
        rewards_B = rollout.rewards_B.nan_to_num(nan=0.0)
        rewards_B = rewards_B - self.config.missing_eos_penalty * rollout.cut_B
        kl_N = tokens["old_logps"].new_zeros(len(index_N))
        if self._penalises:
            kl_N = kl_estimate(tokens["old_logps"], tokens["ref_logps"], kind="k1")
        rewards_N = token_rewards(rewards_B, index_N, kl_N=kl_N, beta=self.config.kl_coef)
        if self.config.whiten_rewards:
            scorable_N = ~rollout.rewards_B.isnan()[index_N]
            rewards_N = whiten(rewards_N, scorable_N, shift_mean=False)
        return rewards_N, self.config.kl_coef * kl_N

    def _estimates(self, rollout: Rollout, rewards_N: Tensor) -> tuple[Tensor, Tensor]:
        """Return advantages [N] and the values' targets [N], each with its own lambda."""
        from swiftrl.rlhf.gae import gae, length_adaptive_lambda

        config, index_N = self.config, rollout.sequence_index_N
        values_N = rollout.token_values["values"]
        lam: Any = config.lam
        if config.length_adaptive_alpha is not None:
            lam = length_adaptive_lambda(rollout.lengths_B, alpha=config.length_adaptive_alpha)
        advantages_N, returns_N = gae(values_N, rewards_N, index_N, gamma=config.gamma, lam=lam)
        if config.lam_value is not None or config.length_adaptive_alpha is not None:
            lam_value = config.lam if config.lam_value is None else config.lam_value
            _, returns_N = gae(values_N, rewards_N, index_N, gamma=config.gamma, lam=lam_value)
        return advantages_N, returns_N

    def _positive(self, rollout: Rollout) -> Tensor:
        """Return [B] weights that make a mean over all tokens one over good replies' tokens."""
        positive_B = rollout.rewards_B > 0
        tokens = float(rollout.lengths_B[positive_B].sum())
        return positive_B.float() * (float(rollout.lengths_B.sum()) / max(tokens, 1.0))

    def loss(self, inputs: LossInputs) -> LossOutput:
        """Return the clipped surrogate and the values' loss, counted in tokens."""
        from swiftrl.rlhf import gae, surrogate

        config, tokens = self.config, inputs.token_values
        assert inputs.values is not None
        scorable_N = inputs.sequence_values["scorable"][inputs.sequence_index]
        ratio_N = surrogate.log_ratios(
            inputs.logps,
            tokens["old_logps"],
            inputs.sequence_index,
            inputs.num_sequences,
            level="token",
        )
        policy_N, clipped_N = surrogate.clipped_surrogate(
            ratio_N,
            tokens["advantages"],
            epsilon=config.cliprange,
            epsilon_high=config.cliprange_high,
        )
        clip = config.cliprange_value
        value_N = gae.clipped_value_loss(
            inputs.values,
            tokens["values"],
            tokens["returns"],
            clip=None if clip is None or clip < 0 else clip,
        )
        loss_N = policy_N + config.vf_coef * scorable_N * value_N
        if config.positive_lm_coef:
            positive_N = inputs.sequence_values["positive"][inputs.sequence_index]
            loss_N = loss_N - config.positive_lm_coef * positive_N * inputs.logps
        count = float(len(loss_N))
        gap_N = (tokens["engine_logps"] - tokens["old_logps"]).abs()
        metrics: dict[str, tuple[Tensor | float, Tensor | float]] = {
            "engine_gap": (gap_N.sum(), count),
            "clip_ratio": (clipped_N.float().sum(), count),
            "value_loss": ((scorable_N * value_N).detach().sum(), scorable_N.sum()),
            "values": (inputs.values.detach().sum(), count),
        }
        if inputs.ref_logps is not None:
            kl_N = surrogate.kl_estimate(inputs.logps, inputs.ref_logps, kind="k3")
            loss_N = loss_N if config.kl_in_reward else loss_N + config.kl_coef * kl_N
            metrics["kl"] = (kl_N.detach().sum(), count)
        return LossOutput((inputs.weights * loss_N).sum(), count, metrics)

    def state_dict(self) -> dict[str, Any]:
        """Return how many rollouts were judged, for the warm-up of values."""
        return {"rollouts": self.rollouts}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` gave."""
        self.rollouts = int(state["rollouts"])


def _check(config: PpoConfig) -> None:
    for name in ("kl_coef", "vf_coef", "missing_eos_penalty", "positive_lm_coef", "cliprange"):
        if getattr(config, name) < 0:
            raise ConfigError(f"--{name} {getattr(config, name)}: expected 0 or more.")
    for name in ("gamma", "lam", "lam_value"):
        value = getattr(config, name)
        if value is not None and not 0 <= value <= 1:
            raise ConfigError(f"--{name} {value}: expected 0 up to 1.")
    if config.cliprange_high is not None and config.cliprange_high < 0:
        raise ConfigError(f"--cliprange_high {config.cliprange_high}: expected 0 or more.")
    alpha = config.length_adaptive_alpha
    if alpha is not None and alpha <= 0:
        raise ConfigError(f"--length_adaptive_alpha {alpha}: expected more than 0.")
    if config.value_warmup_rollouts and not config.detach_values:
        raise ConfigError(
            f"--value_warmup_rollouts {config.value_warmup_rollouts}: the model would learn from "
            "its values; set --detach_values true."
        )


ALGORITHM = Ppo
