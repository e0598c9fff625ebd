"""Thoughts, then a call in the form of ReAct."""

from __future__ import annotations

import re
from typing import Any

from swiftrl.rlhf.rewards.reward import RewardMaker

__all__ = ["REWARD", "react_format"]

_CALL = re.compile(r"\s*Action:[^\S\n]*\S[^\n]*\n\s*Action Input:.*", re.DOTALL)
_MARK = re.compile(r"</?think>")


def react_format(completions: list[str], **columns: Any) -> list[float | None]:
    """Return 1 for `<think>...</think> Action: name, new line, Action Input: input`, else 0.

    The steps of ReAct (arXiv:2210.03629) with marked thoughts. The action has a name; its input
    may be empty.
    """
    return [float(_keeps(completion)) for completion in completions]


def _keeps(text: str) -> bool:
    before, *rest = _MARK.split(text)
    marked = _MARK.findall(text) == ["<think>", "</think>"]
    return marked and not before.strip() and _CALL.fullmatch(rest[1]) is not None


REWARD = RewardMaker(
    "1 for `<think>...</think>`, `Action: name` and, on a new line, `Action Input: ...`; else 0.",
    lambda config: react_format,
    paper="arXiv:2210.03629",
)
