"""Questions of your own with a written answer, in EvalScope's layout."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from swiftrl.checking.answers import answer_part, normalised, same_text
from swiftrl.eval.task import Item, Place, Scored, Task

__all__ = ["TASK", "lcs_length", "rouge_l", "units"]


def read(row: Mapping[str, Any]) -> Item:
    """Make an item of `query` and `response`, or of `messages`, and `system` if there is one."""
    system = str(row.get("system") or "")
    if "messages" in row:
        messages = list(row["messages"])
        if not messages or messages[-1]["role"] == "user":
            raise ValueError("`messages` end without the assistant's reference reply")
        if messages[0]["role"] == "system":
            system = str(messages.pop(0)["content"])
        if len(messages) != 2:
            raise ValueError(f"{len(messages)} messages; expected one question and its reply")
        return Item(messages[0]["content"], messages[1]["content"], messages[1]["content"],
                    system=system)  # fmt: skip
    return Item(str(row["query"]), str(row["response"]), str(row["response"]), system=system)


def score(reply: str, item: Item) -> Scored:
    """Hold a reply against the reference: Rouge-L, and equality of their texts."""
    part = answer_part(reply)
    values = {
        "rouge_l": rouge_l(part, str(item.reference)),
        "exact_match": float(same_text(reply, str(item.reference))),
    }
    return Scored(values, normalised(part))


def rouge_l(reply: str, reference: str) -> float:
    """Return the F1 of the longest common subsequence (Lin 2004, section 3, beta 1).

    Units are words, and single characters of Chinese, Japanese and Korean.
    """
    ours, theirs = units(reply), units(reference)
    common = lcs_length(ours, theirs)
    return 2 * common / (len(ours) + len(theirs)) if common else 0.0


def units(text: str) -> list[str]:
    """Return a text's words, and its CJK characters one by one."""
    spaced = "".join(f" {c} " if _alone(c) else c if c.isalnum() else " " for c in text.casefold())
    return spaced.split()


def _alone(character: str) -> bool:
    code = ord(character)
    return 0x3040 <= code <= 0x9FFF or 0xAC00 <= code <= 0xD7AF or 0x20000 <= code <= 0x323AF


def lcs_length(first: list[str], second: list[str]) -> int:
    """Return the length of the longest common subsequence."""
    if not Counter(first) & Counter(second):
        return 0
    row = [0] * (len(second) + 1)
    for unit in first:
        before = 0
        for column, other in enumerate(second, start=1):
            held = row[column]
            row[column] = before + 1 if unit == other else max(held, row[column - 1])
            before = held
    return row[-1]


TASK = Task(
    summary="Questions of your own with a written answer: query and response.",
    source="EvalScope's general_qa: NAME.jsonl; Rouge-L by Lin 2004",
    place=Place(split="test"),
    read=read,
    score=score,
    metric="rouge_l",
    max_tokens=512,
)
