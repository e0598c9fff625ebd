"""Endless streams of training rows made from the tasks: texts, chats, preferences, prompts."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from scripts.builtin import lexicon
from scripts.builtin.manners import Prompt, ask, reply_pair, say, usual_reply
from scripts.builtin.problem import is_heldout
from scripts.builtin.tasks import draw

_NAMES = {
    "en": ("Tom", "Anna", "Ben", "Mia", "Jack", "Lucy"),
    "zh": ("小明", "小红", "小华", "王老师", "李医生", "爷爷"),
}
_SCENES = {
    "en": (
        "{name} has a {a} and a {b}.",
        "{name} can see the {a} near the {b}.",
        "Yesterday {name} went to the {a} with {other}.",
        "There is a {a} in the {b}.",
        "{name} gave {other} {n} things and kept {m} of them.",
        "In the morning {name} looked for the {a}, but found only the {b}.",
    ),
    "zh": (
        "{name}有{a}和{b}。",
        "{name}看见{b}旁边有{a}。",
        "昨天{name}和{other}一起去看{a}。",
        "{b}里有{a}。",
        "{name}给了{other}{n}样东西，自己留下{m}样。",
        "早上{name}去找{a}，却只找到了{b}。",
    ),
}


def prompts(rng: random.Random, heldout: bool) -> Iterator[Prompt]:
    """Yield prompts of one side of the split, for ever."""
    while True:
        prompt = ask(draw(rng), rng)
        if prompt.heldout == heldout:
            yield prompt


def _scene(rng: random.Random) -> str:
    language = rng.choice(("en", "zh"))
    words = [row[language == "zh"] for row in lexicon.table(lexicon.WORDS)]
    a, b = rng.sample(words, 2)
    name, other = rng.sample(_NAMES[language], 2)
    n, m = rng.randint(2, 9), rng.randint(1, 2)
    return rng.choice(_SCENES[language]).format(a=a, b=b, name=name, other=other, n=n, m=m)


def _solved(source: Iterator[Prompt], rng: random.Random) -> str:
    prompt = next(source)
    problem = prompt.problem
    roll = rng.random()
    if roll < 0.45:
        return f"{problem.question} {problem.answer}"
    if roll < 0.75:
        return f"{problem.question} {say(problem, problem.answer, 'plain', rng)}"
    return f"{prompt.user} {usual_reply(prompt, rng)}"


def texts(rng: random.Random, heldout: bool = False) -> Iterator[dict[str, Any]]:
    """Yield rows {"text"}: solved problems and small scenes, for ever."""
    source = prompts(rng, heldout)
    while True:
        if rng.random() < 0.85:
            text = "\n".join(_solved(source, rng) for _ in range(rng.randint(2, 6)))
        else:
            text = " ".join(_scene(rng) for _ in range(rng.randint(2, 5)))
            if is_heldout(text) != heldout:
                continue
        yield {"text": text}


def _turn(prompt: Prompt, reply: str) -> list[dict[str, str]]:
    return [*prompt.messages, {"role": "assistant", "content": reply}]


def _earlier_round(source: Iterator[Prompt], prompt: Prompt, rng: random.Random) -> list:
    """Return a finished round to put before `prompt`, or nothing."""
    if prompt.system or rng.random() > 0.08:
        return []
    earlier = next(source)
    return [] if earlier.system else _turn(earlier, usual_reply(earlier, rng))


def instructions(rng: random.Random, heldout: bool = False) -> Iterator[dict[str, Any]]:
    """Yield rows {"messages"}, and the judge's columns, for ever; the manner is often missed."""
    source = prompts(rng, heldout)
    for prompt in source:
        before = _earlier_round(source, prompt, rng)
        yield {"messages": [*before, *_turn(prompt, usual_reply(prompt, rng))], **prompt.columns}


def preferences(rng: random.Random, heldout: bool = False) -> Iterator[dict[str, Any]]:
    """Yield rows {"messages", "rejected_response"}, and the judge's columns, for ever."""
    source = prompts(rng, heldout)
    for prompt in source:
        before = _earlier_round(source, prompt, rng)
        chosen, rejected = reply_pair(prompt, rng)
        row = {"messages": [*before, *_turn(prompt, chosen)], "rejected_response": rejected}
        yield {**row, **prompt.columns}


def labelled(rng: random.Random, heldout: bool = False) -> Iterator[dict[str, Any]]:
    """Yield rows {"messages", "label"}, and the judge's columns, for ever; three in five good."""
    for row in preferences(rng, heldout):
        rejected = row.pop("rejected_response")
        good = rng.random() < 0.6
        reply = row["messages"][-1] if good else {"role": "assistant", "content": rejected}
        yield {"messages": [*row.pop("messages")[:-1], reply], "label": good, **row}


def prompt_rows(rng: random.Random, heldout: bool = False) -> Iterator[dict[str, Any]]:
    """Yield rows {"messages"} that end with the user, and the judge's columns, for ever."""
    for prompt in prompts(rng, heldout):
        yield {"messages": prompt.messages, **prompt.columns}
