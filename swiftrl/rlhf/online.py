"""What an online algorithm is: one whose rows are replies that the model just wrote.

A step takes prompts from the data, lets the policy write a group of replies to each
(`rollouts.py`), scores them (`rewards/`), turns scores into advantages, and trains on the trees
that a prompt and its replies make.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, TypeVar

from swiftrl.core.config import setting
from swiftrl.core.errors import ConfigError
from swiftrl.rlhf.algorithm import Algorithm
from swiftrl.rlhf.rewards.config import RewardConfig

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["OnlineAlgorithm", "RolloutConfig"]


@dataclass(frozen=True)
class RolloutConfig:
    """Rollouts."""

    num_generations: int = setting(8, "Replies to each prompt: a group.")
    max_completion_length: int = setting(512, "Most tokens of a reply.")
    temperature: float = setting(
        0.9, "Divides the logits, when replies are sampled and when they are trained on."
    )
    top_p: float = setting(
        1.0, "Keep the likeliest tokens up to this probability; training does not see the cut."
    )
    top_k: int = setting(-1, "Keep this many of the likeliest tokens; -1 is off.")
    stop_words: list[str] = setting([], "Texts that end a reply.")
    rollout_batch_size: int = setting(64, "Replies written at once, each device.")
    overlong_filter: bool = setting(
        False, "Leave replies out of the loss that --max_completion_length cut off (DAPO)."
    )
    dynamic_sample: bool = setting(
        False,
        "Put other prompts in the place of those whose replies all scored alike and so teach "
        "nothing (DAPO's dynamic sampling).",
    )
    max_resample_times: int = setting(
        3, "With --dynamic_sample: how often, before a prompt is kept as it is."
    )
    log_completions: bool = setting(
        True, "Write prompts, replies, rewards and advantages to completions.jsonl."
    )


Settings = TypeVar("Settings", bound=RolloutConfig)


class OnlineAlgorithm(Algorithm[Settings]):
    """Base of the online algorithms; their `Config` extends `RolloutConfig`.

    Its loss finds `advantages` in `LossInputs.sequence_values`, and in `token_values` the
    `engine_logps`, log-probabilities as of when the tokens were sampled.
    """

    row_kind: ClassVar = "prompt"
    more_settings: ClassVar = (RewardConfig,)

    def __init__(self, config: Settings) -> None:
        super().__init__(config)
        _check(config)

    @property
    def temperature(self) -> float:
        """What the logits are divided by, in training as in sampling."""
        return self.config.temperature

    @abstractmethod
    def advantages(self, rewards: Tensor, group_index: Tensor) -> Tensor:
        """Return the advantage of each of a step's replies.

        Args:
            rewards: [B] float32; not a number where a reply could not be scored.
            group_index: [B] int64, ascending: which prompt it answers.

        Returns:
            [B] float32, finite.
        """


def _check(config: RolloutConfig) -> None:
    if config.num_generations < 2:
        raise ConfigError(
            f"--num_generations {config.num_generations}: expected 2 or more; a reply is judged "
            "by the others of its group."
        )
    if config.max_completion_length < 1:
        raise ConfigError(
            f"--max_completion_length {config.max_completion_length}: expected 1 or more."
        )
    if config.temperature <= 0:
        raise ConfigError(
            f"--temperature {config.temperature}: expected more than 0; replies that are all the "
            "same teach nothing."
        )
    if not 0 < config.top_p <= 1:
        raise ConfigError(f"--top_p {config.top_p}: expected more than 0, up to 1.")
    if config.top_k < -1:
        raise ConfigError(f"--top_k {config.top_k}: expected -1 (off) or more.")
    if config.max_resample_times < 1:
        raise ConfigError(f"--max_resample_times {config.max_resample_times}: expected 1 or more.")
    if config.rollout_batch_size < 1:
        raise ConfigError(f"--rollout_batch_size {config.rollout_batch_size}: expected 1 or more.")
