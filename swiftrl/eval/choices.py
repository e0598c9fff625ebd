"""Multiple-choice questions: written out with letters, or one likelihood a choice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from swiftrl.eval.answers import LETTERS
from swiftrl.eval.task import Item, Scored

__all__ = ["as_chat", "judged", "listed_item", "listing"]


def listing(choices: Sequence[Any]) -> str:
    """Return the choices with their letters, a line each."""
    return "\n".join(f"{LETTERS[i]}. {text}" for i, text in enumerate(choices))


def listed_item(
    question: str, choices: Sequence[Any], gold: Any, *, answer: str = "Answer:", group: str = ""
) -> Item:
    """Return an item whose prompt names the choices by letters.

    Args:
        question: the text.
        choices: two to 26 of them.
        gold: the right one's number from 0, or its letter.
        answer: the last line.
        group: see Item.

    Raises:
        ValueError: too few choices, or no such choice.
    """
    number = gold_number(gold, len(choices))
    letters = tuple(LETTERS[: len(choices)])
    prompt = f"{question}\n{listing(choices)}\n{answer}"
    return Item(prompt, letters[number], choices=letters, listed=True, gold=number, group=group)


def gold_number(gold: Any, number: int) -> int:
    """Return the right choice's number from 0.

    Raises:
        ValueError: there are fewer than two choices, or no such one.
    """
    if not 2 <= number <= len(LETTERS):
        raise ValueError(f"{number} choices; expected 2 to {len(LETTERS)}")
    text = str(gold).strip()
    index = LETTERS.find(text.upper()) if text.isalpha() and len(text) == 1 else -1
    if index < 0 and text.lstrip("-").isdigit():
        index = int(text)
    if not 0 <= index < number:
        raise ValueError(f"the answer {gold!r} is none of {number} choices")
    return index


def as_chat(item: Item) -> str:
    """Return the question as a chat asks it: with the choices by letters."""
    if item.listed:
        return item.prompt
    choices = item.choices
    return f"{item.prompt}\n{listing(choices)}\nAnswer with the letter of the right choice:"


def judged(item: Item, likelihoods: Sequence[float]) -> Scored:
    """Return whether the likeliest choice is the right one.

    "acc" compares sums of log-probabilities, "acc_norm" sums by character of the choice, so that
    long ones are not at a disadvantage (Brown et al. 2020, section 2.4, by characters).

    Args:
        item: with its choices.
        likelihoods: nats of each choice.
    """
    if item.gold is None:
        return Scored({"acc": None, "acc_norm": None})
    plain = max(range(len(likelihoods)), key=lambda i: likelihoods[i])
    lengths = [max(len(choice), 1) for choice in item.choices]
    normed = max(range(len(likelihoods)), key=lambda i: likelihoods[i] / lengths[i])
    values = {"acc": float(plain == item.gold), "acc_norm": float(normed == item.gold)}
    return Scored(values, LETTERS[plain])
