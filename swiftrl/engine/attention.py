"""Attention of replies on their way: queries are few, keys and values lie in a `SlotCache`.

transformers hands keyword arguments of a model's `forward` down to the attention function, so
what a call is about travels with it. No architecture is changed.

Shapes: B rows, T packed tokens, H query heads, K key-value heads, G = H / K, D head width,
L the longest row, n tokens of a span.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from swiftrl.core.errors import ModelError
from swiftrl.engine.cache import SlotCache
from swiftrl.models.attention import Terms, Window, attend, register_attention, terms_of

__all__ = ["NAME", "STEP", "Decode", "Prefill", "Span", "register"]

NAME = "swiftrl_live"
STEP = "live_step"
"""Keyword under which `Prefill` and `Decode` travel through a model's `forward`."""

Made = TypeVar("Made")


class Span(NamedTuple):
    """Tokens of a prompt that are read now: of which row, from which place on, how many."""

    row: int
    start: int
    size: int


@dataclass(frozen=True, eq=False)
class _Step:
    """What the layers of one forward pass share."""

    cache: SlotCache
    _made: dict[Hashable, Any] = field(default_factory=dict, repr=False)

    def once(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """Return what `make` gives for `key`, made once a pass."""
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]


@dataclass(frozen=True, eq=False)
class Prefill(_Step):
    """Prompts are read, packed into one row without padding."""

    spans: Sequence[Span] = ()

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, terms: Terms) -> Tensor:
        """Map query [1, H, T, D] to [1, T, H, D]."""
        keys, values = self.cache.held(layer, key, value)
        outputs, at = [], 0
        for row, start, size in self.spans:
            here, end = slice(at, at + size), start + size
            keys[row, :, start:end] = key[0, :, here]
            values[row, :, start:end] = value[0, :, here]
            mask = self.once(
                (start, size, terms.window), partial(_causal, query, start, size, terms.window)
            )
            seen = (keys[row : row + 1, :, :end], values[row : row + 1, :, :end])
            outputs.append(attend(query[:, :, here], *seen, mask, terms).transpose(1, 2))
            at += size
        return torch.cat(outputs, dim=1)


def _causal(like: Tensor, start: int, size: int, window: int | None) -> Tensor | None:
    """Return what is added to the scores [n, start + n]; None is plainly causal."""
    end = start + size
    if start == 0 and (window is None or window >= end):
        return None
    row = torch.arange(start, end, device=like.device)[:, None]
    column = torch.arange(end, device=like.device)
    hidden = column > row if window is None else (column > row) | (column <= row - window)
    return like.new_zeros(size, end).masked_fill_(hidden, float("-inf"))


@dataclass(frozen=True, eq=False)
class Decode(_Step):
    """Every row has one more token."""

    lengths: Sequence[int] = ()
    """Of each row, the new token included."""

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, terms: Terms) -> Tensor:
        """Map query [B, H, 1, D] to [B, 1, H, D]."""
        keys, values = self.cache.held(layer, key, value)
        batch, heads, longest = query.shape[0], key.shape[1], max(self.lengths)
        rows, last = self.once("place", lambda: self._place(query))
        keys[rows, :, last] = key[:, :, 0]
        values[rows, :, last] = value[:, :, 0]
        mask = self.once(("mask", terms.window), lambda: self._mask(query, longest, terms))
        # The heads of a group look at the same keys: they are one head's queries.
        grouped = query.reshape(batch, heads, -1, query.shape[-1])
        if terms.sinks is not None:
            terms = replace(terms, sinks=terms.sinks.view(1, heads, -1, 1))
        seen = (keys[:batch, :, :longest], values[:batch, :, :longest])
        found = attend(grouped, *seen, mask, terms)
        return found.reshape(batch, 1, -1, found.shape[-1])

    def _place(self, like: Tensor) -> tuple[Tensor, Tensor]:
        lengths = torch.tensor(self.lengths, device=like.device)
        return torch.arange(len(lengths), device=like.device), lengths - 1

    def _mask(self, like: Tensor, longest: int, terms: Terms) -> Tensor:
        """Return what is added to the scores [B, 1, 1, L]."""
        last = self.once("place", lambda: self._place(like))[1][:, None]
        column = torch.arange(longest, device=like.device)[None]
        hidden = column > last
        if terms.window is not None:
            hidden = hidden | (column <= last - terms.window)
        zeros = like.new_zeros(len(self.lengths), longest)
        return zeros.masked_fill_(hidden, float("-inf"))[:, None, None]


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Window | Tensor | None,
    **given: Any,
) -> tuple[Tensor, None]:
    """The function transformers calls for every attention layer.

    Raises:
        ModelError: the model keeps its keyword arguments to itself, has layers without a number,
            or asks for a term that is unknown here.
    """
    step, layer = given.get(STEP), getattr(module, "layer_idx", None)
    if not isinstance(step, (Prefill, Decode)) or not isinstance(layer, int):
        raise ModelError(f"{type(module).__name__} does not take part in continuous batching.")
    terms = terms_of(module, query, attention_mask, given)
    return step.attend(layer, query, key, value, replace(terms, dropout=0.0)), None


def register() -> None:
    """Enter this attention in transformers' registries under `NAME`."""
    register_attention(NAME, _attention)
