"""Knowledge of 57 subjects, four choices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from swiftrl.eval.answers import letter_score
from swiftrl.eval.choices import listed_item
from swiftrl.eval.task import Item, Place, Task

__all__ = ["TASK"]


def read(row: Mapping[str, Any]) -> Item:
    """Make an item of `question`, `choices`, `answer` (a number or a letter) and `subject`."""
    return listed_item(
        str(row["question"]).strip(), row["choices"], row["answer"], group=row.get("subject", "")
    )


TASK = Task(
    summary="Knowledge of 57 subjects, English, four choices.",
    source="Hendrycks et al. 2021, arXiv:2009.03300",
    place=Place("cais/mmlu", "", ("all",), "test", "dev"),
    read=read,
    score=letter_score,
    metric="acc",
    kind="choice",
    few_shot=5,
    preamble="The following are multiple choice questions (with answers).\n\n",
    max_tokens=1024,
)
