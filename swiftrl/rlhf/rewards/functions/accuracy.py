"""Whether the answer is the reference."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from swiftrl.checking.answers import same_text
from swiftrl.core.compat import check_installed
from swiftrl.core.errors import ConfigError
from swiftrl.rlhf.rewards.config import RewardConfig
from swiftrl.rlhf.rewards.references import references
from swiftrl.rlhf.rewards.reward import RewardFunction, RewardMaker

__all__ = ["REWARD", "Judge", "judge"]

Judge = Callable[[list[str], Mapping[str, Sequence[Any]]], "list[bool | None]"]


def judge(config: RewardConfig, name: str) -> Judge:
    """Return what decides right (True), wrong (False) or unscorable (None) for a batch.

    Args:
        config: `accuracy_mode` counts.
        name: the reward that asks, for messages.

    Raises:
        ConfigError: math-verify is not installed and asked for.
    """
    if config.accuracy_mode == "exact":
        return _exact
    try:
        check_installed("math_verify", extra="math", purpose=f"the reward {name}")
    except ConfigError as error:
        raise ConfigError(f"{error} Or compare texts: --accuracy_mode exact.") from None
    from swiftrl.checking.math_check import MathChecker

    checker = MathChecker()
    return lambda completions, columns: checker.check(completions, references(columns))


def _exact(completions: list[str], columns: Mapping[str, Sequence[Any]]) -> list[bool | None]:
    return [
        None if reference is None else same_text(completion, reference)
        for completion, reference in zip(completions, references(columns), strict=True)
    ]


def make(config: RewardConfig) -> RewardFunction:
    """Return the reward: 1 for a right answer, 0 for a wrong one, None without a reference."""
    judged = judge(config, "accuracy")

    def accuracy(completions: list[str], **columns: Any) -> list[float | None]:
        values = judged(completions, columns)
        return [None if value is None else float(value) for value in values]

    return accuracy


REWARD = RewardMaker(
    "1 if the answer is the reference, else 0; compared as `--accuracy_mode` says.",
    make,
    columns=("solution",),
)
