"""Multiple-choice questions of your own, in EvalScope's layout."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from swiftrl.eval.answers import LETTERS
from swiftrl.eval.choices import choice_task, listed_item
from swiftrl.eval.task import Item, Place

__all__ = ["TASK"]


def read(row: Mapping[str, Any]) -> Item:
    """Make an item of `question`, `A`, `B`, ... and `answer`."""
    choices = []
    for letter in LETTERS:
        if row.get(letter) in (None, ""):
            break
        choices.append(row[letter])
    return listed_item(str(row["question"]).strip(), choices, row["answer"])


TASK = choice_task(
    summary="Multiple-choice questions of your own: question, A, B, ..., answer.",
    source="EvalScope's general_mcq: NAME_val.csv (or jsonl) and NAME_dev.csv with examples",
    place=Place(split="val", few_shot_split="dev"),
    read=read,
)
