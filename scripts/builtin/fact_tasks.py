"""Tasks that ask for a fact out of the tables: capitals, opposites, colours, order, translation."""

from __future__ import annotations

import random
from collections.abc import Callable

from scripts.builtin import lexicon
from scripts.builtin.problem import Problem

_ASK = {
    "capital": (
        ("What is the capital of {}?", "Name the capital of {}.", "{}: which city is the capital?"),
        ("{}的首都是哪里？", "请说出{}的首都。", "哪座城市是{}的首都？"),
        ("The capital of {} is {}", "{}的首都是{}"),
    ),
    "opposite": (
        ('What is the opposite of "{}"?', "Give the opposite of {}.", "{} is the opposite of?"),
        ("“{}”的反义词是什么？", "请说出{}的反义词。", "什么和{}相反？"),
        ("The opposite of {} is {}", "{}的反义词是{}"),
    ),
    "colour": (
        ("What colour is {}?", "Name the colour of {}.", "Which colour does {} have?"),
        ("{}是什么颜色？", "请说出{}的颜色。", "{}一般是哪种颜色？"),
        ("The colour of {} is {}", "{}的颜色是{}"),
    ),
    "next": (
        ("What comes after {}?", "What follows {}?", "Name what comes next: {}"),
        ("{}后面是什么？", "{}之后是什么？", "请接着说：{}"),
        ("After {} comes {}", "{}后面是{}"),
    ),
    "translate": (
        ("How do you say {} in {other}?", "Translate {} into {other}.", "{} in {other}?"),
        ("{}用{other}怎么说？", "请把{}翻译成{other}。", "{}的{other}是什么？"),
        ("{} is {}", "{}的意思是{}"),
    ),
}


def _fact(rng: random.Random, zh: bool, task: str, ask: str, answer: str, pool: list) -> Problem:
    questions = _ASK[task][zh]
    other = "英语" if zh else "Chinese"
    question = rng.choice(questions).format(ask, other=other)
    sentence = _ASK[task][2][zh].format(ask, answer)
    others = sorted({word for word in pool if word != answer})
    wrong = tuple(rng.sample(others, 2))
    return Problem(task, "zh" if zh else "en", question, answer, sentence, wrong, None)


def from_table(task: str, text: str) -> Callable[[random.Random, bool], Problem]:
    """Return the task over a table of (asked, answer) in English and in Chinese."""
    rows = lexicon.table(text)

    def draw(rng: random.Random, zh: bool) -> Problem:
        cells = rng.choice(rows)[2:] if zh else rng.choice(rows)[:2]
        pool = [row[3 if zh else 1] for row in rows]
        return _fact(rng, zh, task, cells[0], cells[1], pool)

    return draw


def following(rng: random.Random, zh: bool) -> Problem:
    """The day or the month after another."""
    text = lexicon.DAYS if rng.random() < 0.4 else lexicon.MONTHS
    names = [row[zh] for row in lexicon.table(text)]
    place = rng.randrange(len(names))
    answer = names[(place + 1) % len(names)]
    return _fact(rng, zh, "next", names[place], answer, names)


def translate(rng: random.Random, zh: bool) -> Problem:
    """A word in the other language."""
    rows = lexicon.table(lexicon.WORDS)
    row = rng.choice(rows)
    return _fact(rng, zh, "translate", row[zh], row[not zh], [r[not zh] for r in rows])
