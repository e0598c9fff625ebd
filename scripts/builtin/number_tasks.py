"""Tasks with numbers: sums, differences, products, comparing."""

from __future__ import annotations

import random

from scripts.builtin.problem import Problem


def _slips(value: int, rng: random.Random) -> tuple[str, ...]:
    near = [value + delta for delta in (-10, -2, -1, 1, 2, 10) if value + delta >= 0]
    return tuple(str(number) for number in rng.sample(near, 2))


def _number(rng: random.Random) -> int:
    return rng.randint(0, 9) if rng.random() < 0.3 else rng.randint(10, 99)


def _sum(rng: random.Random, zh: bool, task: str, numbers: list[int], sign: str) -> Problem:
    total = sum(numbers) if sign == "+" else numbers[0] - numbers[1]
    formula = f" {sign} ".join(map(str, numbers))
    word = {"+": "加", "-": "减"}[sign].join(map(str, numbers))
    spoken = {"+": " plus ", "-": " minus "}[sign].join(map(str, numbers))
    question = (
        rng.choice((f"{formula} = ?", f"{word}等于多少？", f"请计算 {formula}。"))
        if zh
        else rng.choice((f"What is {formula}?", f"Compute {formula}.", f"What is {spoken}?"))
    )
    key = sorted(numbers) if sign == "+" else numbers
    return Problem(
        task,
        "zh" if zh else "en",
        question,
        str(total),
        f"{formula} = {total}",
        _slips(total, rng),
        f"{sign}{key}",
    )


def add(rng: random.Random, zh: bool) -> Problem:
    """Two numbers below 100, or three below 10."""
    three = rng.random() < 0.2
    numbers = [rng.randint(0, 9) for _ in range(3)] if three else [_number(rng), _number(rng)]
    return _sum(rng, zh, "add", numbers, "+")


def subtract(rng: random.Random, zh: bool) -> Problem:
    """Two numbers below 100, the result not negative."""
    numbers = sorted((_number(rng), _number(rng)), reverse=True)
    return _sum(rng, zh, "subtract", numbers, "-")


def multiply(rng: random.Random, zh: bool) -> Problem:
    """The multiplication table up to 9 times 9: facts rather than computing."""
    a, b = rng.randint(1, 9), rng.randint(1, 9)
    question = (
        rng.choice((f"{a}乘{b}等于多少？", f"{a} * {b} = ?", f"请计算 {a} * {b}。"))
        if zh
        else rng.choice((f"What is {a} * {b}?", f"Compute {a} * {b}.", f"What is {a} times {b}?"))
    )
    wrong = (str(a * b + a), str(abs(a * b - b)), str(a + b))
    wrong = tuple(w for w in wrong if w != str(a * b)) or (str(a * b + 1),)
    language = "zh" if zh else "en"
    return Problem("multiply", language, question, str(a * b), f"{a} * {b} = {a * b}", wrong, None)


def compare(rng: random.Random, zh: bool) -> Problem:
    """The larger or smaller of two numbers."""
    a, b = rng.sample(range(0, 100) if rng.random() < 0.7 else range(100, 1000), 2)
    larger = rng.random() < 0.5
    answer, other = (max(a, b), min(a, b)) if larger else (min(a, b), max(a, b))
    if zh:
        word = "大" if larger else "小"
        question = rng.choice((f"{a} 和 {b} 哪个更{word}？", f"哪个数更{word}：{a} 还是 {b}？"))
        sentence = f"更{word}的数是 {answer}"
    else:
        word = "larger" if larger else "smaller"
        question = rng.choice((f"Which is {word}, {a} or {b}?", f"Pick the {word}: {a} or {b}."))
        sentence = f"The {word} number is {answer}"
    key = f"compare{sorted((a, b))}"
    return Problem(
        "compare", "zh" if zh else "en", question, str(answer), sentence, (str(other),), key
    )
