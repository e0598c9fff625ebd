"""The small tasks that the built-in models are trained on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from swiftrl.data.builtin.score import manner_kept, right_answer
from swiftrl.eval.task import Item, Place, Scored, Task

__all__ = ["TASK"]


def read(row: Mapping[str, Any]) -> Item:
    """Make an item of a row of `builtin:prompts`."""
    messages = row["messages"]
    system = messages[0]["content"] if messages[0]["role"] == "system" else ""
    return Item(messages[-1]["content"], row["answer"], row, group=row["task"], system=system)


def score(reply: str, item: Item) -> Scored:
    """Judge the answer, and the manner that was asked for."""
    right, kept = right_answer(item.reference, reply), manner_kept(item.reference, reply)
    return Scored({"acc": float(right), "manner": float(kept)}, reply.strip())


TASK = Task(
    summary="The small tasks of the built-in models: is the answer right, and polite or terse?",
    source="this package",
    place=Place(split="heldout", few_shot_split="train", builtin="prompts"),
    read=read,
    score=score,
    metric="acc",
    max_tokens=64,
)
