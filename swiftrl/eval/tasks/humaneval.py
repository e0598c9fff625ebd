"""Python functions from their docstrings, run against tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from swiftrl.checking.answers import answer_part
from swiftrl.checking.programs import fenced_blocks, runs_to_its_end
from swiftrl.eval.task import Item, Place, Scored, Task

__all__ = ["TASK"]


def read(row: Mapping[str, Any]) -> Item:
    """Make an item of `prompt`, `test` and `entry_point`."""
    test = f"{row['test']}\n\ncheck({row['entry_point']})"
    return Item(str(row["prompt"]), str(row.get("canonical_solution", "")), (row["prompt"], test))


def score(reply: str, item: Item) -> Scored:
    """Run what continues the prompt, or the whole program that a chat model writes in a fence."""
    prompt, test = item.reference
    blocks = fenced_blocks(answer_part(reply))
    body = blocks[0] if blocks else reply
    if blocks and "def " in body:  # the prompt's imports and helpers may be taken for granted
        program = f"{prompt.rpartition('def ')[0]}\n{body}"
    else:
        program = prompt + body
    return Scored({"pass@1": float(runs_to_its_end(f"{program}\n\n{test}"))}, program)


TASK = Task(
    summary="Python functions from their docstrings, run against tests.",
    source="Chen et al. 2021, arXiv:2107.03374",
    place=Place("openai/openai_humaneval", "opencompass/humaneval", (), "test"),
    read=read,
    score=score,
    metric="pass@1",
    stop=("\nclass", "\ndef", "\n#", "\nif", "\nprint"),
    max_tokens=1024,
    runs_programs=True,
)
