"""A penalty for saying the same again."""

from __future__ import annotations

import re
from typing import Any

from swiftrl.core.errors import ConfigError
from swiftrl.rlhf.rewards.config import RewardConfig
from swiftrl.rlhf.rewards.reward import RewardFunction, RewardMaker

__all__ = ["REWARD", "repeated_share"]

# Chinese characters and Japanese kana are a word each: those scripts put no spaces.
_WORD = re.compile(
    r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u3040-\u30ff]|[^\s\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u3040-\u30ff]+"
)


def repeated_share(text: str, size: int) -> float:
    """Return the share of a text's n-grams of `size` words that stood there before.

    1 - distinct / all, in lower case; 0 for a text shorter than an n-gram.
    """
    words = _WORD.findall(text.lower())
    grams = [tuple(words[i : i + size]) for i in range(len(words) - size + 1)]
    return 1.0 - len(set(grams)) / len(grams) if grams else 0.0


def make(config: RewardConfig) -> RewardFunction:
    """Return the reward: `repeated_share` times `repetition_max_penalty`.

    After the repetition penalty of Yeo et al. 2025 (arXiv:2502.03373), which
    penalises the tokens of repeated n-grams; here the reply has one value, as in ms-swift.
    """
    size, penalty = config.repetition_n_grams, config.repetition_max_penalty
    if size < 1:
        raise ConfigError(f"--repetition_n_grams {size}: expected 1 or more.")
    if penalty > 0:
        raise ConfigError(f"--repetition_max_penalty {penalty:g}: expected 0 or less.")

    def repetition(completions: list[str], **columns: Any) -> list[float | None]:
        return [repeated_share(completion, size) * penalty + 0.0 for completion in completions]

    return repetition


REWARD = RewardMaker(
    "The share of repeated n-grams times `--repetition_max_penalty`.",
    make,
    paper="arXiv:2502.03373",
)
