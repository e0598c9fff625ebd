"""The built-in tasks: small problems with one right answer each, endless and reproducible."""

from __future__ import annotations

import random
from collections.abc import Callable

from scripts.builtin import fact_tasks, lexicon, list_tasks, number_tasks
from scripts.builtin.problem import Problem

TASKS: dict[str, tuple[float, Callable[[random.Random, bool], Problem]]] = {
    "add": (3.0, number_tasks.add),
    "subtract": (2.0, number_tasks.subtract),
    "multiply": (1.0, number_tasks.multiply),
    "compare": (1.5, number_tasks.compare),
    "sort": (2.0, list_tasks.sort),
    "reverse": (1.5, list_tasks.reverse),
    "copy": (1.0, list_tasks.copy),
    "repeat": (0.7, list_tasks.repeat),
    "count": (1.3, list_tasks.count),
    "capital": (1.2, fact_tasks.from_table("capital", lexicon.CAPITALS)),
    "opposite": (1.0, fact_tasks.from_table("opposite", lexicon.OPPOSITES)),
    "colour": (0.8, fact_tasks.from_table("colour", lexicon.COLOURS)),
    "next": (0.8, fact_tasks.following),
    "translate": (1.2, fact_tasks.translate),
}


def draw(rng: random.Random) -> Problem:
    """Draw a problem: the task by its weight, English or Chinese evenly."""
    name = rng.choices(list(TASKS), [weight for weight, _ in TASKS.values()])[0]
    return TASKS[name][1](rng, rng.random() < 0.5)
