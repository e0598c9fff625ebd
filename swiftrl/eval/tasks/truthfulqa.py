"""Questions that many people answer wrongly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from swiftrl.eval.choices import choice_task
from swiftrl.eval.task import Item, Place

__all__ = ["TASK"]


def read(row: Mapping[str, Any]) -> Item:
    """Make an item of `question` and `mc1_targets` {"choices", "labels"}."""
    choices = tuple(map(str, row["mc1_targets"]["choices"]))
    gold = [int(label) for label in row["mc1_targets"]["labels"]].index(1)
    return Item(f"Q: {row['question']}\nA:", choices[gold], choices=choices, gold=gold)


TASK = choice_task(
    summary="Questions that many people answer wrongly, one right choice (MC1).",
    source="Lin et al. 2021, arXiv:2109.07958; without its six fixed examples",
    place=Place("truthfulqa/truthful_qa", "", ("multiple_choice",), "validation"),
    read=read,
)
