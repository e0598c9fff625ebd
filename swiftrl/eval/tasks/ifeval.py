"""Instructions that a program can check."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from swiftrl.checking.answers import answer_part
from swiftrl.eval.instructions import CHECKS, followed, loose_forms
from swiftrl.eval.task import Item, Place, Scored, Task

__all__ = ["TASK"]

LANGUAGE = "language:response_language"
"""Telling languages apart takes a trained model: rows with it are left out."""


def read(row: Mapping[str, Any]) -> Item | None:
    """Make an item of `prompt`, `instruction_id_list` and `kwargs`."""
    names = [str(name) for name in row["instruction_id_list"]]
    if LANGUAGE in names:
        return None
    for name in names:
        if name not in CHECKS:
            raise ValueError(f"the instruction {name!r} is not known")
    told = [dict(arguments) for arguments in row["kwargs"]]
    pairs = list(zip(names, told, strict=True))
    for name, arguments in pairs:
        followed(name, "Any text.", arguments)  # arguments that do not fit are said at once
    return Item(str(row["prompt"]), reference=pairs)


def score(reply: str, item: Item) -> Scored:
    """Check every instruction, strictly and in the loosest form of the reply."""
    part = answer_part(reply)
    strict = [followed(name, part, told) for name, told in item.reference]
    loose = [
        any(followed(name, form, told) for form in loose_forms(part))
        for name, told in item.reference
    ]
    values = {
        "prompt_strict": float(all(strict)),
        "prompt_loose": float(all(loose)),
        "instruction_share_strict": sum(strict) / len(strict),
        "instruction_share_loose": sum(loose) / len(loose),
    }
    return Scored(values)


TASK = Task(
    summary="Instructions that a program can check, all followed (those about languages left out).",
    source="Zhou et al. 2023, arXiv:2311.07911",
    place=Place("google/IFEval", "opencompass/ifeval", (), "train"),
    read=read,
    score=score,
    metric="prompt_strict",
    max_tokens=1280,
)
