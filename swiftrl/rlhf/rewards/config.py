"""Settings of rewards."""

from __future__ import annotations

from dataclasses import dataclass

from swiftrl.core.config import setting

__all__ = ["RewardConfig"]


@dataclass(frozen=True)
class RewardConfig:
    """Rewards."""

    reward_funcs: list[str] = setting(
        [], "Reward functions: names of registered ones, or path/to/file.py:function."
    )
    reward_model: list[str] = setting(
        [], "Reward models (folders or hub ids) whose scores are rewards, after --reward_funcs."
    )
    reward_weights: list[float] = setting(
        [],
        "Weight of each reward in the sum, in the order of --reward_funcs, then --reward_model. "
        "Unset: 1 each.",
    )
    reward_timeout: float = setting(
        120.0, "Seconds that a reward function has for a batch; a slower one stops the run."
    )
    accuracy_mode: str = setting(
        "math",
        "How accuracy compares: math (math-verify, needs swiftrl[math]) or exact (the last line, "
        "the whole reply or <answer> equals the solution, apart from case and punctuation).",
        choices=("math", "exact"),
    )
    cosine_min_len_value_wrong: float = setting(-0.5, "cosine: value of an empty wrong reply.")
    cosine_max_len_value_wrong: float = setting(0.0, "cosine: value of the longest wrong reply.")
    cosine_min_len_value_correct: float = setting(1.0, "cosine: value of an empty right reply.")
    cosine_max_len_value_correct: float = setting(0.5, "cosine: value of the longest right reply.")
    cosine_max_len: int | None = setting(
        None, "cosine: tokens of the longest reply. Unset: --max_completion_length."
    )
    repetition_n_grams: int = setting(3, "repetition: words of the n-grams that are counted.")
    repetition_max_penalty: float = setting(
        -1.0, "repetition: value of a reply that only repeats itself; 0 or less."
    )
    soft_max_length: int | None = setting(
        None, "soft_overlong: tokens from which on a reply gets -1. Unset: --max_completion_length."
    )
    soft_cache_length: int | None = setting(
        None, "soft_overlong: tokens before that over which the value falls from 0 to -1."
    )
    code_timeout: float = setting(10.0, "code: seconds of each run of a program.")
    code_memory: int = setting(1024, "code: MiB of memory of each run of a program.")
