"""BIG-Bench Hard: 27 kinds of reasoning."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from swiftrl.checking.answers import answer_part, normalised
from swiftrl.eval.task import Item, Place, Scored, Task

__all__ = ["TASK"]

SUBSETS = (
    "boolean_expressions", "causal_judgement", "date_understanding", "disambiguation_qa",
    "dyck_languages", "formal_fallacies", "geometric_shapes", "hyperbaton",
    "logical_deduction_five_objects", "logical_deduction_seven_objects",
    "logical_deduction_three_objects", "movie_recommendation", "multistep_arithmetic_two",
    "navigate", "object_counting", "penguins_in_a_table", "reasoning_about_colored_objects",
    "ruin_names", "salient_translation_error_detection", "snarks", "sports_understanding",
    "temporal_sequences", "tracking_shuffled_objects_five_objects",
    "tracking_shuffled_objects_seven_objects", "tracking_shuffled_objects_three_objects",
    "web_of_lies", "word_sorting",
)  # fmt: skip
_SAID = re.compile(r"answer is:?\s*(.+?)(?:\.\s|\.?$)", re.IGNORECASE | re.MULTILINE)


def read(row: Mapping[str, Any]) -> Item:
    """Make an item of `input` and `target`."""
    target = str(row["target"])
    ask = 'Think step by step, and end with "So the answer is ...".'
    return Item(f"Q: {row['input']}\n{ask}\nA:", f"So the answer is {target}.", target)


def score(reply: str, item: Item) -> Scored:
    """Compare what follows the last "answer is", or the last line, with the reference."""
    part = answer_part(reply)
    said = _SAID.findall(part)
    lines = [line for line in part.splitlines() if line.strip()] or [""]
    answer = said[-1] if said else lines[-1]
    wanted = normalised(str(item.reference))
    # "(B) the dog" names the choice as "(B)" does.
    choice = re.match(r"\([a-z]\)", normalised(answer))
    found = choice[0] if choice and re.fullmatch(r"\([a-z]\)", wanted) else normalised(answer)
    return Scored({"acc": float(found == wanted)}, found)


TASK = Task(
    summary="BIG-Bench Hard: 27 kinds of reasoning.",
    source="Suzgun et al. 2022, arXiv:2210.09261; asked in words of our own, without its examples",
    place=Place("lukaemon/bbh", "", SUBSETS, "test"),
    read=read,
    score=score,
    metric="acc",
    stop=("\nQ:",),
    max_tokens=1024,
)
