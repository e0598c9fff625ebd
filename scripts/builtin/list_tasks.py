"""Tasks with short lists: sorting, reversing, copying, repeating, counting."""

from __future__ import annotations

import random

from scripts.builtin import lexicon
from scripts.builtin.problem import Problem


def _items(rng: random.Random, zh: bool, least: int, most: int) -> list[str]:
    count = rng.randint(least, most)
    kind = rng.randrange(3)
    if kind == 0:
        return [str(rng.randint(0, 9)) for _ in range(count)]
    if kind == 1:
        return [rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(count)]
    return rng.sample([row[zh] for row in lexicon.table(lexicon.WORDS)], count)


def _list_problem(
    task: str, zh: bool, question: str, items: list[str], answer: list[str], wrong: list[list[str]]
) -> Problem:
    said = " ".join(answer)
    slips = [*wrong, answer[:-1]]
    wrongs = tuple(dict.fromkeys(" ".join(w) for w in slips if w and w != answer))
    sentence = f"结果是 {said}" if zh else f"The result is {said}"
    key = f"{task}:{' '.join(items)}"
    return Problem(task, "zh" if zh else "en", question, said, sentence, wrongs, key)


def _swap(items: list[str], rng: random.Random) -> list[str]:
    place = rng.randrange(len(items) - 1)
    return [*items[:place], items[place + 1], items[place], *items[place + 2 :]]


def sort(rng: random.Random, zh: bool) -> Problem:
    """Numbers below 100, or letters, from small to large."""
    count = rng.randint(3, 5)
    if rng.random() < 0.6:
        items = [str(n) for n in rng.sample(range(10 if rng.random() < 0.5 else 100), count)]
        answer = sorted(items, key=int)
    else:
        items = rng.sample("abcdefghijklmnopqrstuvwxyz", count)
        answer = sorted(items)
    said = " ".join(items)
    question = (
        rng.choice((f"把 {said} 从小到大排序。", f"请排序：{said}"))
        if zh
        else rng.choice((f"Sort {said}.", f"Put in order: {said}"))
    )
    return _list_problem("sort", zh, question, items, answer, [_swap(answer, rng), items])


def reverse(rng: random.Random, zh: bool) -> Problem:
    """A short list read backwards."""
    items = _items(rng, zh, 3, 5)
    said = " ".join(items)
    answer = items[::-1]
    question = (
        rng.choice((f"把 {said} 倒过来。", f"倒着写：{said}"))
        if zh
        else rng.choice((f"Reverse {said}.", f"Write backwards: {said}"))
    )
    return _list_problem("reverse", zh, question, items, answer, [_swap(answer, rng), items])


def copy(rng: random.Random, zh: bool) -> Problem:
    """A short list said again."""
    items = _items(rng, zh, 3, 7)
    said = " ".join(items)
    question = (
        rng.choice((f"请照抄：{said}", f"跟我说：{said}"))
        if zh
        else rng.choice((f"Copy this: {said}", f"Say after me: {said}"))
    )
    return _list_problem("copy", zh, question, items, items, [_swap(items, rng)])


def repeat(rng: random.Random, zh: bool) -> Problem:
    """One word several times."""
    word = rng.choice([row[zh] for row in lexicon.table(lexicon.WORDS)])
    times = rng.randint(2, 6)
    question = (
        rng.choice((f"把“{word}”说 {times} 遍。", f"重复 {times} 次：{word}"))
        if zh
        else rng.choice((f'Say "{word}" {times} times.', f"Repeat {times} times: {word}"))
    )
    answer = [word] * times
    wrong = [[word] * (times - 1), [word] * (times + 1)]
    return _list_problem("repeat", zh, question, [word, str(times)], answer, wrong)


def count(rng: random.Random, zh: bool) -> Problem:
    """How many items, or how often a letter, in a short list."""
    if rng.random() < 0.5:
        items = _items(rng, zh, 2, 8)
        number, wanted = len(items), None
    else:
        letters = rng.sample("abcdefghijklmnopqrstuvwxyz", 2)
        items = [rng.choice(letters) for _ in range(rng.randint(3, 7))]
        wanted = letters[0]
        number = items.count(wanted)
    said = " ".join(items)
    if zh:
        question = f"{said} 里有几个 {wanted}？" if wanted else f"{said} 一共有几项？"
        sentence = f"数量是 {number}"
    else:
        question = f"How many {wanted} in {said}?" if wanted else f"How many items: {said}?"
        sentence = f"The count is {number}"
    wrong = tuple(str(n) for n in (number - 1, number + 1) if n >= 0)
    key = f"count:{wanted}:{said}"
    return Problem("count", "zh" if zh else "en", question, str(number), sentence, wrong, key)
