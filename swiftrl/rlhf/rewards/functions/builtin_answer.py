"""Whether a reply to a built-in task has the right answer, whatever its manner."""

from __future__ import annotations

from typing import Any

from swiftrl.data.builtin.score import right_answer
from swiftrl.rlhf.rewards.reward import RewardMaker

__all__ = ["REWARD", "builtin_answer"]


def builtin_answer(
    prompts: list[list[dict[str, Any]]], completions: list[str], answer: list[Any]
) -> list[float | None]:
    """Return 1 if a sentence of the reply ends with the answer and none contradicts it, else 0."""
    return [
        None
        if reference is None
        else float(right_answer({"messages": prompt, "answer": reference}, completion.strip()))
        for prompt, completion, reference in zip(prompts, completions, answer, strict=True)
    ]


REWARD = RewardMaker(
    "1 for the right answer in any manner, in the built-in data; else 0.",
    lambda config: builtin_answer,
    columns=("answer",),
)
