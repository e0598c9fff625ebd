"""Grade-school mathematics in words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from swiftrl.checking.answers import answer_part
from swiftrl.eval.answers import last_number
from swiftrl.eval.task import Item, Place, Scored, Task

__all__ = ["TASK"]

_MARKED = re.compile(r"#### (-?[0-9.,]+)")
_LOOSE = re.compile(r"-?[$0-9.,]{2,}|-?[0-9]+")


def read(row: Mapping[str, Any]) -> Item:
    """Make an item of `question` and an `answer` that ends with `#### NUMBER`."""
    answer = str(row["answer"])
    if "####" not in answer:
        raise ValueError("the answer has no '#### NUMBER'")
    reference = _bare(answer.rpartition("####")[2])
    return Item(f"Question: {row['question']}\nAnswer:", answer, reference)


def score(reply: str, item: Item) -> Scored:
    """Judge the number behind `####` (strict), and the last one anywhere (flexible).

    Both are read as lm-evaluation-harness reads them, so that scores agree item by item.
    """
    part = answer_part(reply)
    marked, loose = _MARKED.search(part), _LOOSE.findall(part)
    strict = _bare(marked[1]) if marked else None
    flexible = _bare(loose[-1]) if loose else None
    values = {
        "exact_match_flexible": float(flexible == item.reference),
        "exact_match_strict": float(strict == item.reference),
    }
    return Scored(values, last_number(part))


def _bare(text: str) -> str:
    return re.sub(r"\.$", "", re.sub(r"[,$]", "", text.strip()))


TASK = Task(
    summary="Grade-school mathematics in words: the last number of the reply.",
    source="Cobbe et al. 2021, arXiv:2110.14168",
    place=Place("openai/gsm8k", "modelscope/gsm8k", ("main",), "test", "train"),
    read=read,
    score=score,
    metric="exact_match_flexible",
    few_shot=5,
    stop=("Question:", "</s>", "<|im_end|>"),
    max_tokens=512,
)
