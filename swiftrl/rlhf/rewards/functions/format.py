"""Thoughts, then an answer, each between its marks."""

from __future__ import annotations

import re
from typing import Any

from swiftrl.rlhf.rewards.reward import RewardMaker

__all__ = ["REWARD", "format_reward"]

_MARK = re.compile(r"</?(?:think|answer)>")


def format_reward(completions: list[str], **columns: Any) -> list[float | None]:
    """Return 1 for `<think>...</think><answer>...</answer>` and 0 for anything else.

    The form of DeepSeek-R1 (arXiv:2501.12948, table 1). Each mark stands there once; outside them
    there is nothing but white space.
    """
    return [float(_keeps(completion)) for completion in completions]


def _keeps(text: str) -> bool:
    marks = _MARK.findall(text)
    pieces = _MARK.split(text)
    return marks == ["<think>", "</think>", "<answer>", "</answer>"] and not any(
        piece.strip() for piece in pieces[::2]
    )


REWARD = RewardMaker(
    "1 for `<think>...</think><answer>...</answer>`, else 0.",
    lambda config: format_reward,
    paper="arXiv:2501.12948",
)
