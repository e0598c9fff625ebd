"""How a scene goes on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from swiftrl.eval.choices import choice_task
from swiftrl.eval.task import Item, Place

__all__ = ["TASK"]


def _plain(text: str) -> str:
    """Return a text without the marks of the how-to pages that it comes from."""
    return re.sub(r" {2,}", " ", re.sub(r"\[.*?\]", "", text.replace(" [title]", ". "))).strip()


def read(row: Mapping[str, Any]) -> Item:
    """Make an item of `activity_label`, `ctx_a`, `ctx_b`, `endings` and `label`."""
    context = f"{row['activity_label']}: {row['ctx_a']} {str(row.get('ctx_b', '')).capitalize()}"
    endings = tuple(_plain(str(ending)) for ending in row["endings"])
    gold = int(row["label"])
    return Item(_plain(context), endings[gold], choices=endings, gold=gold)


TASK = choice_task(
    summary="How a scene goes on, four endings.",
    source="Zellers et al. 2019, arXiv:1905.07830",
    place=Place("Rowan/hellaswag", "", (), "validation", "train"),
    read=read,
    metric="acc_norm",
)
