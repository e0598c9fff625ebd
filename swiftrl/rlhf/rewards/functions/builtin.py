"""The package's own judge of its built-in tasks."""

from __future__ import annotations

from typing import Any

from swiftrl.data.builtin.score import score
from swiftrl.rlhf.rewards.reward import RewardMaker

__all__ = ["REWARD", "builtin"]


def builtin(
    prompts: list[list[dict[str, Any]]],
    completions: list[str],
    answer: list[Any],
    style: list[Any],
    language: list[Any],
) -> list[float | None]:
    """Return 0.6 for the right answer plus 0.4 for the manner asked for.

    None for rows without `answer`, `style` or `language`: they are from other data.
    """
    rows = zip(prompts, completions, answer, style, language, strict=True)
    return [
        None
        if a is None or s is None or lang is None
        else score({"messages": prompt, "answer": a, "style": s, "language": lang}, completion)
        for prompt, completion, a, s, lang in rows
    ]


REWARD = RewardMaker(
    "0.6 for the right answer and 0.4 for the manner asked for, in the built-in data.",
    lambda config: builtin,
    columns=("answer", "style", "language"),
)
