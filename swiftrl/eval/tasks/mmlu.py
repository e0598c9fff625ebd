"""Knowledge of 57 subjects, four choices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from swiftrl.eval.choices import choice_task, listed_item
from swiftrl.eval.task import Item, Place

__all__ = ["TASK"]


def read(row: Mapping[str, Any]) -> Item:
    """Make an item of `question`, `choices`, `answer` (a number or a letter) and `subject`."""
    return listed_item(
        str(row["question"]).strip(), row["choices"], row["answer"], group=row.get("subject", "")
    )


TASK = choice_task(
    summary="Knowledge of 57 subjects, English, four choices.",
    source="Hendrycks et al. 2021, arXiv:2009.03300",
    place=Place("cais/mmlu", "", ("all",), "test", "dev"),
    read=read,
    few_shot=5,
    preamble="The following are multiple choice questions (with answers).\n\n",
)
