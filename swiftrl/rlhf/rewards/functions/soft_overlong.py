"""A penalty that rises over the last tokens before the limit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from swiftrl.core.errors import ConfigError
from swiftrl.rlhf.rewards.config import RewardConfig
from swiftrl.rlhf.rewards.reward import RewardFunction, RewardMaker

__all__ = ["REWARD", "overlong_penalty"]


def overlong_penalty(length: int, max_length: int, cache_length: int) -> float:
    """Soft overlong punishment, DAPO (arXiv:2503.14476), eq. 13.

    Args:
        length: tokens of the completion.
        max_length: L_max; longer ones get -1.
        cache_length: L_cache; up to L_max - L_cache tokens the value is 0, then it falls.
    """
    return -min(max(length - (max_length - cache_length), 0) / cache_length, 1.0) + 0.0


def make(config: RewardConfig) -> RewardFunction:
    """Return the reward for `soft_max_length` and `soft_cache_length`."""
    longest, cache = config.soft_max_length, config.soft_cache_length
    if longest is None or cache is None:
        absent = "soft_max_length" if longest is None else "soft_cache_length"
        raise ConfigError(f"the reward soft_overlong needs --{absent}.")
    if not 0 < cache <= longest:
        raise ConfigError(
            f"--soft_cache_length {cache}: expected 1 up to --soft_max_length ({longest})."
        )

    def soft_overlong(
        completions: list[str], completion_ids: list[Sequence[int]], **columns: Any
    ) -> list[float | None]:
        return [overlong_penalty(len(ids), longest, cache) for ids in completion_ids]

    return soft_overlong


REWARD = RewardMaker(
    "0, falling to -1 over the last `--soft_cache_length` tokens before `--soft_max_length`.",
    make,
    paper="arXiv:2503.14476",
)
