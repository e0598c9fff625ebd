"""Whom or what a word stands for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from swiftrl.eval.choices import choice_task
from swiftrl.eval.task import Item, Place

__all__ = ["TASK"]


def read(row: Mapping[str, Any]) -> Item:
    """Make an item of `sentence` with a gap `_`, `option1`, `option2` and `answer` (1 or 2)."""
    before, gap, after = str(row["sentence"]).partition("_")
    if not gap:
        raise ValueError("the sentence has no gap '_'")
    options = (str(row["option1"]), str(row["option2"]))
    gold = int(row["answer"]) - 1
    if gold not in (0, 1):
        raise ValueError(f"the answer {row['answer']!r} is not 1 or 2")
    # What follows is equally the end: its likelihood tells which beginning fits.
    return Item(
        f"Fill the gap: {row['sentence']}",
        after.strip(),
        choices=options,
        contexts=tuple(before + option for option in options),
        gold=gold,
    )


TASK = choice_task(
    summary="Whom or what a word stands for, two choices.",
    source="Sakaguchi et al. 2019, arXiv:1907.10641; scored as Trinh & Le 2018, arXiv:1806.02847",
    place=Place("allenai/winogrande", "", ("winogrande_xl",), "validation", "train"),
    read=read,
)
