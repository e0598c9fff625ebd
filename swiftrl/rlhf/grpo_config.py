"""Settings of GRPO and its family."""

from __future__ import annotations

from dataclasses import dataclass

from swiftrl.core.config import setting
from swiftrl.core.errors import ConfigError
from swiftrl.rlhf.online import RolloutConfig

__all__ = ["AVERAGES", "CISPO_BOUND", "ESTIMATORS", "GrpoConfig", "check_grpo"]

AVERAGES = {
    "grpo": "sequence", "bnpo": "token", "dapo": "token", "dr_grpo": "constant",
    "cispo": "token", "sapo": "sequence", "gmpo": "sequence", "gpg": "token",
    "clip_cov": "token", "kl_cov": "token",
}  # fmt: skip
"""How the losses of tokens are averaged, by --loss_type."""
ESTIMATORS = (
    "grpo", "rloo", "reinforce_plus_plus", "reinforce_plus_plus_baseline", "remax", "opo", "gpg",
    "gdpo", "pass_at_k",
)  # fmt: skip
IN_REWARD = ("rloo", "reinforce_plus_plus", "reinforce_plus_plus_baseline")
"""Estimators whose papers take the divergence from the reference off the reward."""
BY_TOKEN = ("gmpo", "gpg", "clip_cov", "kl_cov")
"""Losses that look at the ratio of each token."""
CISPO_BOUND = 5.0
CORRECTIONS = ("token_truncate", "token_mask", "sequence_truncate", "sequence_mask")


@dataclass(frozen=True)
class GrpoConfig(RolloutConfig):
    """GRPO."""

    beta: float = setting(0.04, "Weight of the divergence from the reference; 0 needs none.")
    kl_in_reward: bool | None = setting(
        None,
        "Take the divergence (k1, summed over the reply) off the reward instead of adding it to "
        "the loss (k3). Unset: for rloo and reinforce_plus_plus.",
    )
    epsilon: float = setting(
        0.2, "Clip the ratio of probabilities below 1 minus this (gmpo: its logarithm below this)."
    )
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
        "over tokens by --max_completion_length. cispo, sapo, gmpo, gpg, clip_cov, kl_cov: losses "
        "of their own.",
        choices=tuple(AVERAGES),
    )
    advantage_estimator: str = setting(
        "grpo",
        "grpo: reward less the group's mean. rloo: less the mean of the others. "
        "reinforce_plus_plus: normalised over the rollout; with _baseline, less the group's mean "
        "first. remax: less the reward of the likeliest reply. opo: less the mean weighted by "
        "length. gpg: as grpo, groups without spread made up for. gdpo: each reward normalised by "
        "itself. pass_at_k: what the best adds to the second best.",
        choices=ESTIMATORS,
    )
    scale_rewards: str | None = setting(
        None,
        "What a grpo advantage is divided by: the standard deviation of the group, of the batch "
        "(the whole rollout), or none. Unset: group, and none for dr_grpo.",
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
    top_entropy_quantile: float = setting(
        1.0,
        "Train only this share of a rollout's tokens, those of the highest entropy "
        "(arXiv:2506.01939 takes 0.2).",
    )
    clip_cov_ratio: float = setting(2e-4, "clip_cov: share of tokens whose loss is dropped.")
    clip_cov_low: float = setting(1.0, "clip_cov: only tokens with a covariance above this,")
    clip_cov_high: float = setting(5.0, "and below this.")
    kl_cov_ratio: float = setting(2e-3, "kl_cov: share of tokens with a penalty.")
    kl_cov_coef: float = setting(1.0, "kl_cov: weight of that penalty.")
    rollout_importance_sampling_mode: str | None = setting(
        None,
        "Correct for the engine's arithmetic: weights pi_trainer / pi_engine of tokens or "
        "sequences, truncated at the threshold or masked beyond it.",
        choices=CORRECTIONS,
    )
    rollout_importance_sampling_threshold: float = setting(2.0, "Largest of these weights.")

    @property
    def penalised(self) -> bool:
        """Whether the divergence from the reference is taken off the reward."""
        if self.kl_in_reward is None:
            return self.advantage_estimator in IN_REWARD
        return self.kl_in_reward


def check_grpo(config: GrpoConfig) -> None:
    """Refuse settings out of range, and ones that contradict each other.

    Raises:
        ConfigError: which.
    """
    _check_clips(config)
    _check_choices(config)
    shares = ("top_entropy_quantile", "clip_cov_ratio", "kl_cov_ratio")
    for name in shares:
        if not 0 < getattr(config, name) <= 1:
            raise ConfigError(f"--{name} {getattr(config, name)}: expected more than 0, up to 1.")
    for name in ("tau_pos", "tau_neg", "rollout_importance_sampling_threshold"):
        if getattr(config, name) <= 0:
            raise ConfigError(f"--{name} {getattr(config, name)}: expected more than 0.")


def _check_clips(config: GrpoConfig) -> None:
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


def _check_choices(config: GrpoConfig) -> None:
    if config.scale_rewards and config.advantage_estimator != "grpo":
        raise ConfigError(
            f"--scale_rewards {config.scale_rewards}: the estimator "
            f"{config.advantage_estimator} scales in its own way; leave the flag."
        )
    if config.loss_type in BY_TOKEN and config.importance_sampling_level != "token":
        raise ConfigError(
            f"--importance_sampling_level {config.importance_sampling_level}: "
            f"{config.loss_type} looks at each token; leave the flag."
        )
    if config.delta is not None and config.loss_type in ("cispo", "sapo", "gmpo", "gpg", "kl_cov"):
        raise ConfigError(
            f"--delta {config.delta}: {config.loss_type} has no clip; leave the flag."
        )
    if config.kl_in_reward and config.advantage_estimator == "gdpo":
        raise ConfigError(
            "--kl_in_reward true: gdpo normalises each reward by itself, so that there is no sum "
            "to take the divergence off; leave the flag."
        )
