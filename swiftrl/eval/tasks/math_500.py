"""Mathematics of competitions, by equality of expressions."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from swiftrl.checking.math_check import MathChecker
from swiftrl.eval.task import Item, Place, Scored, Task

__all__ = ["TASK"]


@cache
def _checker() -> MathChecker:
    """Return the process that compares; one serves the whole evaluation."""
    return MathChecker()


def read(row: Mapping[str, Any]) -> Item:
    """Make an item of `problem`, `answer` and `subject`."""
    answer = str(row["answer"])
    prompt = f"{row['problem']}\nReason step by step, and put the final answer within \\boxed{{}}."
    return Item(prompt, f"\\boxed{{{answer}}}", f"${answer}$", group=str(row.get("subject", "")))


def score(reply: str, item: Item) -> Scored:
    """Compare the reply's answer with the reference as mathematics (math-verify)."""
    equal = _checker().check([reply], [item.reference])[0]
    return Scored({"acc": None if equal is None else float(equal)}, reply.strip()[-200:])


TASK = Task(
    summary="Mathematics of competitions, 500 problems, by equality of expressions.",
    source="Hendrycks et al. 2021, arXiv:2103.03874; the 500 of Lightman et al., arXiv:2305.20050",
    place=Place("HuggingFaceH4/MATH-500", "AI-ModelScope/MATH-500", (), "test"),
    read=read,
    score=score,
    metric="acc",
    max_tokens=2048,
    needs=("math_verify", "math"),
)
