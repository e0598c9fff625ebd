"""Questions of science at school."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from swiftrl.eval.choices import choice_task
from swiftrl.eval.task import Item, Place

__all__ = ["TASK"]


def read(row: Mapping[str, Any]) -> Item:
    """Make an item of `question`, `choices` {"text", "label"} and `answerKey`."""
    choices = tuple(map(str, row["choices"]["text"]))
    labels = [str(label) for label in row["choices"]["label"]]
    gold = labels.index(str(row["answerKey"]))
    return Item(f"Question: {row['question']}\nAnswer:", choices[gold], choices=choices, gold=gold)


TASK = choice_task(
    summary="Questions of science at school, easy and hard, four choices.",
    source="Clark et al. 2018, arXiv:1803.05457",
    place=Place("allenai/ai2_arc", "", ("ARC-Challenge", "ARC-Easy"), "test", "train"),
    read=read,
    metric="acc_norm",
)
