"""The largest forward pass of a run: what memory must hold at once.

Shapes: T tokens that run, N trained tokens, B sequences, L longest sequence, P prompt, R reply.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["MicroBatch", "Tree", "micro_batch"]


@dataclass(frozen=True, slots=True)
class Tree:
    """A row: the prompt's tokens, each reply's, and how many tokens of each reply train."""

    prompt: int
    replies: tuple[int, ...]
    trained: tuple[int, ...]

    @property
    def tokens(self) -> int:
        """Tokens that run in the tree layout."""
        return self.prompt + sum(self.replies)

    @property
    def longest(self) -> int:
        """Tokens of its longest sequence."""
        return self.prompt + max(self.replies)


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """A forward pass.

    Attributes:
        trees: its rows.
        layout: "tree" or "rows".
        pictures: of all rows; a picture is seen once a tree, or once a sequence.
        picture_patches: patches of all pictures, as the encoder sees them.
    """

    trees: tuple[Tree, ...]
    layout: str
    picture_patches: int = 0

    @property
    def sequences(self) -> int:
        """B."""
        return sum(len(tree.replies) for tree in self.trees)

    @property
    def longest(self) -> int:
        """L."""
        return max(tree.longest for tree in self.trees)

    @property
    def tokens(self) -> int:
        """T, padding included."""
        if self.layout == "tree":
            return sum(tree.tokens for tree in self.trees)
        return self.sequences * self.longest

    @property
    def trained(self) -> int:
        """N."""
        return sum(sum(tree.trained) for tree in self.trees)

    @property
    def patches(self) -> int:
        """Patches that run through the encoder."""
        if self.layout == "tree" or not self.trees:
            return self.picture_patches
        return self.picture_patches * self.sequences // len(self.trees)


def micro_batch(trees: Sequence[Tree], layout: str, picture_patches: int = 0) -> MicroBatch:
    """Return a forward pass over some rows."""
    return MicroBatch(tuple(trees), layout, picture_patches)
