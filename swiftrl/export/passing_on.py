"""Blocks that pass on what they are given, for passes that only ask what blocks are called with."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["PassingOn", "entries_of", "passing_on", "same_values"]


class PassingOn(nn.Module):
    """Stands in for a block; hidden states come out as they went in.

    Args:
        block: whose attributes a model may read.
        entries: of the tuple that it returns, the others None; None for no tuple.
    """

    def __init__(self, block: nn.Module, entries: int | None) -> None:
        super().__init__()
        self.block, self.entries = block, entries

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the block."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("block"), name)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return the hidden states."""
        hidden = args[0] if args else kwargs["hidden_states"]
        return hidden if self.entries is None else (hidden, *[None] * (self.entries - 1))


def entries_of(output: Any) -> int | None:
    """Return how many entries a block's output has; None for hidden states alone."""
    return None if isinstance(output, Tensor) else len(output)


@contextlib.contextmanager
def passing_on(
    model: nn.Module, blocks: Sequence[nn.Module], entries: Sequence[int | None]
) -> Iterator[list[nn.Module]]:
    """Have a model's blocks pass on hidden states; yields what stands in for them.

    Args:
        model: the model.
        blocks: of one of its lists.
        entries: of the tuple that each returns, by `entries_of`.
    """
    (holder,) = [m for m in model.modules() if isinstance(m, nn.ModuleList) and [*m] == [*blocks]]
    others = [PassingOn(block, size) for block, size in zip(blocks, entries, strict=True)]
    try:
        for place, other in enumerate(others):
            holder[place] = other
        yield list(others)
    finally:
        for place, block in enumerate(blocks):
            holder[place] = block


def same_values(one: Any, other: Any) -> bool:
    """Whether two values are alike, tensors in lists, tuples and dictionaries by their numbers."""
    if isinstance(one, Tensor) or isinstance(other, Tensor):
        both = isinstance(one, Tensor) and isinstance(other, Tensor)
        return both and one.dtype == other.dtype and torch.equal(one, other)
    if type(one) is not type(other):
        return False
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same_values, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same_values(one[k], other[k]) for k in one)
    return one is other or bool(one == other)
