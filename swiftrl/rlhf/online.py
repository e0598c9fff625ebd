"""What an online algorithm is: one whose rows are replies that the model just wrote.

A step takes prompts from the data, lets the policy write a group of replies to each
(`rollouts.py`), scores them (`rewards/`), turns scores into advantages, and trains on the trees
that a prompt and its replies make.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, TypeVar

from swiftrl.core.config import setting
from swiftrl.core.errors import ConfigError
from swiftrl.rlhf.algorithm import Algorithm
from swiftrl.rlhf.judging import Judged, Rollout
from swiftrl.rlhf.reuse import Reuse
from swiftrl.rlhf.rewards.config import RewardConfig

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["OnlineAlgorithm", "Reading", "RolloutConfig"]

Reading = Literal["old_logps", "ref_logps", "entropy", "values", "chance"]
"""What may be known of a rollout's tokens before it is trained on: what models say of them, and a
number from 0 to 1 that depends on the seed and the token's place alone."""


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
    num_iterations: int = setting(
        1,
        "Passes over the replies of a rollout, as many optimizer steps or more.",
        aliases=("num_ppo_epochs",),
    )
    steps_per_generation: int | None = setting(
        None,
        "Forward passes that a rollout feeds in each of --num_iterations: a multiple of "
        "--gradient_accumulation_steps, which it is if unset (one optimizer step).",
    )
    generation_batch_size: int | None = setting(
        None,
        "The same in replies over all processes, instead of --steps_per_generation.",
    )
    log_completions: bool = setting(
        True, "Write prompts, replies, rewards and advantages to completions.jsonl."
    )


Settings = TypeVar("Settings", bound=RolloutConfig)


class OnlineAlgorithm(Algorithm[Settings]):
    """Base of the online algorithms; their `Config` extends `RolloutConfig`.

    Its loss finds `advantages` in `LossInputs.sequence_values`, and in `token_values` the
    `engine_logps`, what the engine said when it sampled the tokens, and `old_logps`, what the
    trainer says of them by the same weights, where a rollout is trained on several times.

    Class attributes:
        least_replies: fewest replies to a prompt.
    """

    least_replies: ClassVar[int] = 2

    row_kind: ClassVar = "prompt"
    more_settings: ClassVar = (RewardConfig,)

    def __init__(self, config: Settings) -> None:
        super().__init__(config)
        _check(config, self.least_replies)

    @property
    def temperature(self) -> float:
        """What the logits are divided by, in training as in sampling."""
        return self.config.temperature

    @property
    def reads(self) -> frozenset[Reading]:
        """What `judge` or the loss must find in a rollout's `token_values`."""
        return frozenset()

    @property
    def greedy(self) -> bool:
        """Whether `judge` needs the reward of each prompt's likeliest reply."""
        return False

    @property
    def whole_groups(self) -> bool:
        """Whether the replies to a prompt must be in one forward pass."""
        return False

    def judge(self, rollout: Rollout) -> Judged:
        """Return what the loss is to find beside the tokens; seen once, over all processes."""
        return Judged({"advantages": self.advantages(rollout)})

    def advantages(self, rollout: Rollout) -> Tensor:
        """Return the advantage of each reply, [B] float32, finite."""
        raise NotImplementedError

    def reuse(self, per_pass: int, accumulation: int) -> Reuse:
        """Return how often a rollout is trained on.

        Args:
            per_pass: replies of a forward pass over all processes.
            accumulation: forward passes of an optimizer step.

        Raises:
            ConfigError: the settings do not fit each other.
        """
        return _reuse(self.config, per_pass, accumulation)


def _reuse(config: RolloutConfig, per_pass: int, accumulation: int) -> Reuse:
    passes = config.steps_per_generation
    if config.generation_batch_size is not None:
        if passes is not None:
            raise ConfigError(
                "--steps_per_generation and --generation_batch_size say the same; give one of them."
            )
        passes, rest = divmod(config.generation_batch_size, per_pass)
        if rest:
            raise ConfigError(
                f"--generation_batch_size {config.generation_batch_size}: a forward pass over all "
                f"processes takes {per_pass} replies; expected a multiple of that."
            )
    steps, rest = divmod(accumulation if passes is None else passes, accumulation)
    if rest or steps < 1:
        raise ConfigError(
            f"--steps_per_generation {passes}: expected a multiple of "
            f"--gradient_accumulation_steps, which is {accumulation} here."
        )
    return Reuse(config.num_iterations, steps)


def _check(config: RolloutConfig, least_replies: int) -> None:
    if config.num_generations < least_replies:
        why = "; a reply is judged by the others of its group" if least_replies > 1 else ""
        raise ConfigError(
            f"--num_generations {config.num_generations}: expected {least_replies} or more{why}."
        )
    if config.num_iterations < 1:
        raise ConfigError(f"--num_iterations {config.num_iterations}: expected 1 or more.")
    if config.dynamic_sample and config.num_generations < 2:
        raise ConfigError(
            "--dynamic_sample true: a single reply has none to differ from; set "
            "--num_generations 2 or more."
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
