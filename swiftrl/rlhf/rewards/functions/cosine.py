"""Right and wrong, scaled by length along a cosine."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from swiftrl.core.errors import ConfigError
from swiftrl.rlhf.rewards.config import RewardConfig
from swiftrl.rlhf.rewards.functions.accuracy import judge
from swiftrl.rlhf.rewards.reward import RewardFunction, RewardMaker

__all__ = ["REWARD", "cosine_value"]


def cosine_value(length: int, max_length: int, at_zero: float, at_max: float) -> float:
    """CosFn of Yeo et al. 2025 (arXiv:2502.03373), from `at_zero` to `at_max`.

    at_max + (at_zero - at_max) (1 + cos(pi length / max_length)) / 2. Completions longer than
    max_length stay at `at_max`; the paper's own value r_e for them is left out, as in ms-swift
    (`soft_overlong` punishes length).
    """
    turn = math.pi * min(length, max_length) / max_length
    return at_max + (at_zero - at_max) * (1.0 + math.cos(turn)) / 2.0


def make(config: RewardConfig) -> RewardFunction:
    """Return the reward: `accuracy` decides which of the two curves counts."""
    longest = config.cosine_max_len
    if longest is None:
        raise ConfigError("the reward cosine needs --cosine_max_len.")
    if longest < 1:
        raise ConfigError(f"--cosine_max_len {longest}: expected 1 or more.")
    right = (config.cosine_min_len_value_correct, config.cosine_max_len_value_correct)
    wrong = (config.cosine_min_len_value_wrong, config.cosine_max_len_value_wrong)
    judged = judge(config, "cosine")

    def cosine(
        completions: list[str], completion_ids: list[Sequence[int]], **columns: Any
    ) -> list[float | None]:
        return [
            None if value is None else cosine_value(len(ids), longest, *(right if value else wrong))
            for value, ids in zip(judged(completions, columns), completion_ids, strict=True)
        ]

    return cosine


REWARD = RewardMaker(
    "Like accuracy, scaled by length: short right replies gain, long wrong ones lose less.",
    make,
    columns=("solution",),
    paper="arXiv:2502.03373",
)
