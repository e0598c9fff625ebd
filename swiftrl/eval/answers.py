"""What replies are taken to say: numbers, letters, programs."""

from __future__ import annotations

import re

from swiftrl.checking.answers import answer_part
from swiftrl.eval.task import Item, Scored

__all__ = ["LETTERS", "chosen_letter", "last_number", "letter_score"]

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_NUMBER = re.compile(r"-?\$?\d[\d,]*(?:\.\d+)?|-?\$?\.\d+")


def last_number(text: str) -> str | None:
    """Return the last number of a text, without currency, commas and a point at its end."""
    found = _NUMBER.findall(text)
    return found[-1].replace(",", "").replace("$", "") if found else None


def chosen_letter(reply: str, number: int) -> str | None:
    r"""Return the letter of a choice that a reply settles on, or None.

    In this order: \boxed{B}; "answer is (B)", "Answer: B", "答案是B"; a reply that begins with the
    letter; the last letter that stands alone.

    Args:
        reply: the model's.
        number: of choices.
    """
    part, known = answer_part(reply), LETTERS[:number]
    patterns = (
        rf"\\boxed\{{\s*(?:\\text\{{)?\s*([{known}])\b",
        rf"(?i:answer\s*(?:is|:|=)|答案\s*(?:是|为|:|：))[\s:：*]*\(?([{known}])(?![A-Za-z])",
    )
    for pattern in patterns:
        found = re.findall(pattern, part)
        if found:
            return found[-1]
    start = re.match(rf"[\s*(（]*([{known}])(?![A-Za-z'’])", part)
    if start:
        return start[1]
    alone = re.findall(rf"(?<![A-Za-z])([{known}])(?![A-Za-z'’])", part)
    return alone[-1] if alone else None


def letter_score(reply: str, item: Item) -> Scored:
    """Judge the letter that a reply settles on."""
    letter = chosen_letter(reply, len(item.choices))
    gold = None if item.gold is None else LETTERS[item.gold]
    return Scored({"acc": None if gold is None else float(letter == gold)}, letter)
