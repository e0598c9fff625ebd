"""Multiple-choice questions: written out with letters, or one likelihood a choice."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from swiftrl.eval.answers import LETTERS, letter_score
from swiftrl.eval.task import Item, Place, Scored, Task

__all__ = ["as_chat", "chinese_exam", "choice_task", "judged", "listed_item", "listing"]


def choice_task(
    summary: str,
    source: str,
    place: Place,
    read: Callable[[Mapping[str, Any]], Item],
    **changes: Any,
) -> Task:
    """Return a task of multiple-choice questions; `changes` are further fields of Task."""
    told: dict[str, Any] = {"metric": "acc", "max_tokens": 1024} | changes
    return Task(summary, source, place, read, letter_score, kind="choice", **told)


def chinese_exam(summary: str, source: str, place: Place, question: str, answer: str) -> Task:
    """Return a task of Chinese exam questions with the choices A to D.

    Args:
        summary: see Task.
        source: see Task.
        place: see Task.
        question: name of the column.
        answer: name of the column, which holds a letter.
    """

    def read(row: Mapping[str, Any]) -> Item:
        choices = [row[letter] for letter in "ABCD"]
        return listed_item(str(row[question]).strip(), choices, row[answer], answer="答案：")

    preamble = "以下是单项选择题及其答案。\n\n"
    return choice_task(summary, source, place, read, few_shot=5, between="", preamble=preamble)


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
