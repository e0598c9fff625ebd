"""Drawn pictures of coloured shapes, and questions about them."""

from __future__ import annotations

import base64
import io
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from scripts.builtin.manners import Prompt, ask, reply_pair, usual_reply
from scripts.builtin.problem import Problem

SIDE = 64  # pixels
COLOURS = {
    "red": ("红色", (220, 40, 40)),
    "green": ("绿色", (40, 160, 60)),
    "blue": ("蓝色", (40, 80, 220)),
    "yellow": ("黄色", (235, 205, 40)),
    "purple": ("紫色", (150, 50, 170)),
    "black": ("黑色", (20, 20, 20)),
}
SHAPES = {"circle": "圆形", "square": "正方形", "triangle": "三角形", "cross": "十字形"}
BACKGROUNDS = ((255, 255, 255), (225, 235, 240), (245, 240, 220))
MOST = 4  # shapes in a picture
_ASK = {
    "vl-colour": (
        ("What colour is it?", "Name the colour.", "Which colour do you see?"),
        ("它是什么颜色？", "请说出颜色。", "你看到了什么颜色？"),
        ("The colour is {}", "颜色是{}"),
    ),
    "vl-shape": (
        ("What shape is it?", "Name the shape.", "Which shape do you see?"),
        ("它是什么形状？", "请说出形状。", "你看到了什么形状？"),
        ("The shape is {}", "形状是{}"),
    ),
    "vl-count": (
        ("How many shapes are there?", "Count the shapes.", "How many do you see?"),
        ("图里有几个？", "请数一数有几个图形。", "一共有几个图形？"),
        ("The count is {}", "数量是 {}"),
    ),
}


@dataclass(frozen=True)
class Scene:
    """One picture: the same shape and colour drawn once or several times.

    Attributes:
        colour: key of COLOURS.
        shape: key of SHAPES.
        background: RGB, 0 to 255.
        places: (x, y, radius) of each, pixels.
    """

    colour: str
    shape: str
    background: tuple[int, int, int]
    places: tuple[tuple[int, int, int], ...]


def draw_scene(rng: random.Random) -> Scene:
    """Draw up a scene whose shapes do not touch."""
    wanted, places = rng.randint(1, MOST), []
    while len(places) < wanted:
        radius = rng.randint(6, 11)
        x, y = (rng.randint(radius + 1, SIDE - radius - 2) for _ in range(2))
        if all((x - u) ** 2 + (y - v) ** 2 > (1.5 * (radius + r)) ** 2 for u, v, r in places):
            places.append((x, y, radius))
    colour, shape = rng.choice(list(COLOURS)), rng.choice(list(SHAPES))
    return Scene(colour, shape, rng.choice(BACKGROUNDS), tuple(places))


def _covered(shape: str, x: int, y: int, radius: int) -> np.ndarray:
    """Return the pixels of one shape as a [SIDE, SIDE] mask."""
    down, across = np.mgrid[:SIDE, :SIDE]
    dx, dy = np.abs(across - x), down - y
    if shape == "circle":
        return dx**2 + dy**2 <= radius**2
    inside = (dx <= radius) & (np.abs(dy) <= radius)
    if shape == "square":
        return inside
    if shape == "triangle":
        return inside & (2 * dx <= dy + radius)
    return inside & ((3 * dx <= radius) | (3 * np.abs(dy) <= radius))


def render(scene: Scene) -> Image.Image:
    """Return the picture, SIDE by SIDE pixels, with a palette of two colours."""
    mask = np.zeros((SIDE, SIDE), dtype=bool)
    for place in scene.places:
        mask |= _covered(scene.shape, *place)
    picture = Image.fromarray(mask.astype(np.uint8))
    picture.putpalette([*scene.background, *COLOURS[scene.colour][1]])
    return picture


def data_uri(scene: Scene) -> str:
    """Return the picture as a PNG in a data: URI."""
    buffer = io.BytesIO()
    render(scene).save(buffer, "PNG", optimize=True, bits=1)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _problem(scene: Scene, rng: random.Random) -> Problem:
    task, zh = rng.choice(list(_ASK)), rng.random() < 0.5
    if task == "vl-count":
        answer, every = str(len(scene.places)), [str(n) for n in range(1, MOST + 1)]
    elif task == "vl-colour":
        every = [cell[0] if zh else name for name, cell in COLOURS.items()]
        answer = COLOURS[scene.colour][0] if zh else scene.colour
    else:
        every = list(SHAPES.values()) if zh else list(SHAPES)
        answer = SHAPES[scene.shape] if zh else scene.shape
    wrong = tuple(word for word in every if word != answer)
    question = rng.choice(_ASK[task][zh])
    sentence = _ASK[task][2][zh].format(answer)
    return Problem(task, "zh" if zh else "en", question, answer, sentence, wrong, repr(scene))


def prompts(rng: random.Random, heldout: bool) -> Iterator[tuple[Scene, Prompt]]:
    """Yield pictures with a question, of one side of the split, for ever."""
    while True:
        scene = draw_scene(rng)
        prompt = ask(_problem(scene, rng), rng)
        if prompt.heldout == heldout:
            yield scene, prompt


def _row(scene: Scene, prompt: Prompt, reply: str) -> dict[str, Any]:
    *before, user = prompt.messages
    user = {"role": "user", "content": "<image>" + user["content"]}
    messages = [*before, user, {"role": "assistant", "content": reply}]
    return {"messages": messages, "images": [data_uri(scene)]}


def instructions(rng: random.Random, heldout: bool = False) -> Iterator[dict[str, Any]]:
    """Yield rows {"messages", "images"}, and the judge's columns, for ever."""
    for scene, prompt in prompts(rng, heldout):
        yield {**_row(scene, prompt, usual_reply(prompt, rng)), **prompt.columns}


def preferences(rng: random.Random, heldout: bool = False) -> Iterator[dict[str, Any]]:
    """Yield rows {"messages", "images", "rejected_response"}, and the judge's columns, for ever."""
    for scene, prompt in prompts(rng, heldout):
        chosen, rejected = reply_pair(prompt, rng)
        row = _row(scene, prompt, chosen)
        yield {**row, "rejected_response": rejected, **prompt.columns}
