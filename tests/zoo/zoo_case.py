"""A tiny model of an architecture and the batches that the checks run it on."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
import transformers
from torch import nn
from zoo_config import VOCABULARY, tiny_config
from zoo_media import found_media
from zoo_recipes import Media, Recipe, recipe_of, sizes_of_class

from swiftrl.data.batch import Tree, TreeBatch, pack
from swiftrl.models.catalog import by_architecture
from swiftrl.models.spec import ModelSpec

__all__ = ["Case"]

FIRST_WORD = 8
"""Ids below are special tokens: a tokenizer's, and a recipe's placeholders."""


@dataclass
class Case:
    """An architecture under test.

    Attributes:
        architecture: class name in transformers.
    """

    architecture: str
    spec: ModelSpec = field(init=False)
    recipe: Recipe = field(init=False)

    def __post_init__(self) -> None:
        self.spec = by_architecture(self.architecture)[0]
        self.recipe = recipe_of(self.spec.trains_as or self.architecture)

    @cached_property
    def config(self) -> Any:
        """The tiny configuration."""
        if self.recipe.config is not None:
            return self.recipe.config()
        return tiny_config(self.model_class.config_class, self.recipe.sizes, sizes_of_class)

    @cached_property
    def model_class(self) -> Any:
        """The class in transformers that trains: a part, where the whole speaks as well."""
        return getattr(transformers, self.spec.trains_as or self.architecture)

    def published(self, model: Any) -> Any:
        """Return a model as its folder is published: inside of the whole, if it is a part."""
        if self.spec.trains_as is None:
            return model
        whole_class = getattr(transformers, self.architecture)
        without = {"enable_audio_output": False, "thinker_config": copy.deepcopy(self.config)}
        whole = whole_class._from_config(tiny_config(whole_class.config_class, without))
        whole.thinker.load_state_dict(model.state_dict())
        return whole.eval()

    def model(self, seed: int = 0, dtype: torch.dtype = torch.float32) -> Any:
        """Return a random model, the same each time, whose weights have unit gain.

        What an architecture holds in float32 always, a router for example, stays so.
        """
        torch.manual_seed(seed)
        # A model keeps its configuration, attention in use included.
        model = self.model_class._from_config(copy.deepcopy(self.config), dtype=torch.float32)
        _unit_gain(model)
        if dtype != torch.float32:
            values = model.state_dict()
            model = self.model_class._from_config(copy.deepcopy(self.config), dtype=dtype)
            model.load_state_dict(values)
        return model.eval()

    @cached_property
    def words(self) -> tuple[int, int]:
        """Range of token ids that stand for plain text."""
        rows = self.config.get_text_config(decoder=True).vocab_size
        return min(FIRST_WORD, rows // 2), min(rows, VOCABULARY) - FIRST_WORD

    @cached_property
    def media(self) -> dict[str, Media]:
        """An input of each modality besides text."""
        model = self.model()
        given = self.recipe.media
        return {
            kind: given[kind](model) if kind in given else found_media(model, kind)
            for kind in self.modalities[1:]
        }

    @property
    def modalities(self) -> list[str]:
        """What the batches hold, text first: what the registry names, but for what is left out."""
        named = [kind for kind in self.spec.modalities if kind not in self.recipe.without]
        return ["text", *(kind for kind in named if kind != "text")]

    def trees(self, seed: int = 0) -> list[Tree]:
        """Return pairs of unequal lengths, a group of three, and each medium with text behind."""
        draw = np.random.default_rng(seed)
        shapes = ((9, 5, 3), (4, 7, 2, 6), (11, 4, 8))
        trees = [self._tree(draw, *shape) for shape in shapes]
        trees += [self._tree(draw, 5, 4, 6, shown=shown) for shown in self.media.values()]
        return trees

    def pairs(self, seed: int = 1) -> TreeBatch:
        """Return preference pairs, each medium in one of them."""
        draw = np.random.default_rng(seed)
        trees = [self._tree(draw, *shape) for shape in ((9, 5, 3), (4, 7, 6), (11, 4, 8))]
        trees += [self._tree(draw, 5, 4, 6, shown=shown) for shown in self.media.values()]
        return pack(trees)

    def media_trees(self, seed: int = 5) -> dict[str, Tree]:
        """Return a pair behind an input of each modality."""
        draw = np.random.default_rng(seed)
        shown = self.media.items()
        return {kind: self._tree(draw, 5, 4, 6, shown=medium) for kind, medium in shown}

    def batch(self) -> TreeBatch:
        """Return `trees` packed."""
        return pack(self.trees())

    def media_batch(self) -> TreeBatch | None:
        """Return the trees with media, if the architecture takes any, beside one without."""
        return pack(self.trees()[2:]) if self.media else None

    def text(self, length: int, rows: int = 1, seed: int = 2) -> torch.Tensor:
        """Return token ids [rows, length] of plain text."""
        draw = np.random.default_rng(seed)
        return torch.from_numpy(draw.integers(*self.words, (rows, length)))

    def _tree(
        self, draw: np.random.Generator, trunk: int, *branches: int, shown: Media | None = None
    ) -> Tree:
        before = shown.token_ids if shown is not None else ()
        ids = [draw.integers(*self.words, length).astype(np.int32) for length in (trunk, *branches)]
        return Tree(
            np.concatenate([np.array(before, dtype=np.int32), ids[0]]),
            tuple(ids[1:]),
            tuple(np.ones(length, dtype=np.float32) for length in branches),
            media=dict(shown.tensors) if shown is not None else {},
        )


def _unit_gain(model: nn.Module) -> None:
    """Widen what starts so small that a wrong attention would go unseen."""
    generator = torch.Generator().manual_seed(0)
    for name, module in model.named_modules():
        kinds = (nn.Linear, nn.Embedding, transformers.Conv1D, nn.Conv2d, nn.Conv3d)
        matrices = isinstance(module, kinds)
        for own, parameter in module.named_parameters(recurse=False):
            stacked = "expert" in f"{name}.{own}" and parameter.ndim == 3
            unused = parameter.ndim > 1 and not parameter.any()
            named = own.endswith(("weight", "bias"))
            if parameter.ndim == 1 and not named and not parameter.any():
                # A gate that starts shut hides what is behind it, equal scores make ties.
                parameter.data.uniform_(0.25, 0.75, generator=generator)
            if own == "original0":  # the length of each row of weights that are normalised
                parameter.data.fill_(1.0)
            if parameter.ndim > 1 and (matrices or stacked or unused):
                inputs = parameter[0].numel() if parameter.ndim > 3 else parameter.shape[-1]
                wide = inputs**-0.5
                with torch.no_grad():
                    parameter.copy_(torch.randn(parameter.shape, generator=generator) * wide)
        for buffer in module.buffers(recurse=False):
            # A codebook without entries makes everything its first one.
            if buffer.ndim > 1 and buffer.is_floating_point() and not buffer.any():
                drawn = torch.randn(buffer.shape, generator=generator)
                buffer.copy_(nn.functional.normalize(drawn, dim=-1))
