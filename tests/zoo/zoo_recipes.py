"""What the generic sizes do not fit: a recipe for an architecture, found in this folder's files.

Every `*_recipes.py` in the folder may hold a table `RECIPES` from class name to `Recipe`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import transformers
from torch import Tensor

__all__ = ["Media", "Recipe", "recipe_of", "sizes_of_class"]


@dataclass(frozen=True, slots=True)
class Media:
    """What a tree shows beside text.

    Attributes:
        token_ids: the trunk's beginning, placeholders included; text follows it.
        tensors: by the name of the model's argument, for one tree, as a processor gives them.
    """

    token_ids: tuple[int, ...]
    tensors: Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class Recipe:
    """How an architecture is made small, and what it is shown.

    Attributes:
        sizes: fields of the configuration that override the generic ones; a mapping in it goes to
            the configuration of that name ("text_config", "vision_config").
        config: makes the configuration instead, where sizes do not suffice.
        media: modality -> function of the model that makes an input of it, where `zoo_media` does
            not find one; it must be the same every time. Each one becomes trees of its own in
            every batch.
        without: modality that the registry names and the suite does not show -> the reason.
        left_out: checks that cannot apply to the architecture, with the reason.
        cause: where a failure comes from, if not from this project.
        beyond: why the suite does not cover the architecture at all; empty if it does.
    """

    sizes: Mapping[str, Any] = field(default_factory=dict)
    config: Callable[[], Any] | None = None
    media: Mapping[str, Callable[[Any], Media]] = field(default_factory=dict)
    without: Mapping[str, str] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)
    cause: str = ""
    beyond: str = ""


@lru_cache(maxsize=1)
def _tables() -> dict[str, Recipe]:
    found: dict[str, Recipe] = {}
    for file in sorted(Path(__file__).parent.glob("*_recipes.py")):
        table = getattr(importlib.import_module(file.stem), "RECIPES", {})
        twice = found.keys() & table.keys()
        if twice:
            raise ValueError(f"{file.name}: {sorted(twice)} have a recipe in another file as well")
        found.update(table)
    return found


@lru_cache(maxsize=1)
def _sizes_by_class() -> dict[type, Mapping[str, Any]]:
    found: dict[type, Mapping[str, Any]] = {}
    for name, recipe in _tables().items():
        made = getattr(transformers, name, None)
        if made is not None and recipe.sizes:
            found.setdefault(made.config_class, recipe.sizes)
    return found


def sizes_of_class(config_class: type) -> Mapping[str, Any]:
    """Return what the recipes say of a configuration class, wherever it occurs."""
    return _sizes_by_class().get(config_class, {})


def recipe_of(architecture: str) -> Recipe:
    """Return an architecture's recipe; an empty one if no table has it."""
    return _tables().get(architecture, Recipe())
