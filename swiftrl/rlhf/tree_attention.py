"""Attention over a packed row of trees, for every architecture that asks the attention registry.

A trunk token sees the trunk up to itself; a branch token sees its trunk and its own branch up to
itself; trees never see each other. transformers hands keyword arguments of the model's `forward`
down to the attention function, so the trees travel with each call and nothing is kept aside.

Shapes: T packed tokens, H query heads, K key-value heads, D head width, q queries, s keys.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn

from swiftrl.core.errors import ModelError
from swiftrl.data.batch import TreeShape
from swiftrl.models.attention import Terms, Window, attend, register_attention, terms_of

__all__ = [
    "NAME",
    "SEGMENTS",
    "AttentionKernel",
    "Segments",
    "register",
    "sdpa_kernel",
]

Made = TypeVar("Made")

NAME = "swiftrl_tree"
SEGMENTS = "tree_segments"
"""Keyword under which `Segments` travels through a model's `forward`."""

_BLOCK = 1024
"""Longest run of queries under one mask, which is then at most [_BLOCK, s]."""


class AttentionKernel(Protocol):
    """Computes tree attention on some hardware."""

    def __call__(
        self, query: Tensor, key: Tensor, value: Tensor, segments: Segments, terms: Terms
    ) -> Tensor:
        """Map query [1, H, T, D] and key, value [1, K, T, D] to [1, T, H, D]."""
        ...


@dataclass(frozen=True, slots=True)
class Piece:
    """A run of tokens of one segment: where it starts in its sequence, and how long it is."""

    position: int
    length: int


@dataclass(frozen=True, slots=True)
class Call:
    """Queries that run together: the piece they are, and the pieces they may look at, in order.

    All of these lie in one sequence, so that who sees whom is a matter of positions alone.
    """

    query: int
    keys: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Segments:
    """The trees of a packed row, with the plan and the masks its layers share.

    Attributes:
        shapes: where the trees lie.
        kernel: what computes the attention.
        read_rows: tokens whose final hidden state is read, in order; None for all.
        last: whether nothing but `read_rows` of the attention's result is looked at. A kernel may
            leave the others at zero.
    """

    shapes: tuple[TreeShape, ...]
    kernel: AttentionKernel
    read_rows: Tensor | None = None
    last: bool = False
    _made: dict[Hashable, Any] = field(default_factory=dict, repr=False)

    def once(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """Return what `make` gives for `key`, made once a batch; layers share it."""
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    def plan(self, window: int | None) -> tuple[list[Piece], list[Call]]:
        """Return the pieces that make up the row, in order, and the calls over them."""
        return self.once(("plan", window), lambda: _plan(self.shapes, window))

    def mask(self, call: Call, window: int | None, like: Tensor) -> Tensor | None:
        """Return the mask [q, s] added to a call's scores, or None where it is plainly causal."""
        pieces, _ = self.plan(window)
        query, keys = pieces[call.query], tuple(pieces[index] for index in call.keys)
        name = ("mask", query, keys, window, like.dtype, like.device)
        return self.once(name, lambda: _mask(query, keys, window, like))


def _plan(shapes: tuple[TreeShape, ...], window: int | None) -> tuple[list[Piece], list[Call]]:
    pieces: list[Piece] = []
    calls: list[Call] = []

    def add(position: int, length: int, seen: tuple[int, ...]) -> tuple[int, ...]:
        """Append a segment behind the pieces `seen`; return all that its last token sees."""
        whole = not seen and (window is None or window >= length)
        step = max(length, 1) if whole else _BLOCK
        for start in range(0, length, step):
            pieces.append(Piece(position + start, min(step, length - start)))
            seen = (*seen, len(pieces) - 1)
            first_visible = 0 if window is None else position + start - window + 1
            near = [i for i in seen if pieces[i].position + pieces[i].length > first_visible]
            calls.append(Call(len(pieces) - 1, tuple(near)))
        return seen

    for shape in shapes:
        if len(shape.branches) <= 1:
            add(0, shape.trunk + sum(shape.branches), ())
            continue
        trunk = add(0, shape.trunk, ())
        for length in shape.branches:
            add(shape.trunk, length, trunk)
    return pieces, calls


def _mask(query: Piece, keys: tuple[Piece, ...], window: int | None, like: Tensor) -> Tensor | None:
    if keys == (query,) and (window is None or window >= query.length):
        return None
    row = torch.arange(query.position, query.position + query.length, device=like.device)[:, None]
    column = torch.cat(
        [torch.arange(k.position, k.position + k.length, device=like.device) for k in keys]
    )
    hidden = column > row if window is None else (column > row) | (column <= row - window)
    return torch.zeros(hidden.shape, dtype=like.dtype, device=like.device).masked_fill_(
        hidden, float("-inf")
    )


def sdpa_kernel(
    query: Tensor, key: Tensor, value: Tensor, segments: Segments, terms: Terms
) -> Tensor:
    """Tree attention by PyTorch's scaled dot product attention, call by call; runs anywhere."""
    pieces, calls = segments.plan(terms.window)
    lengths = [piece.length for piece in pieces]
    # Split rather than sliced: a slice's gradient is as large as the whole row.
    queries, keys, values = (states.split(lengths, dim=2) for states in (query, key, value))
    outputs = []
    for call in calls:
        mask = segments.mask(call, terms.window, query)
        output = attend(
            queries[call.query], _joined(keys, call.keys), _joined(values, call.keys), mask, terms
        )
        outputs.append(output.transpose(1, 2))
    return torch.cat(outputs, dim=1)


def _joined(parts: tuple[Tensor, ...], chosen: tuple[int, ...]) -> Tensor:
    if len(chosen) == 1:
        return parts[chosen[0]]
    return torch.cat([parts[index] for index in chosen], dim=2)


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
        ModelError: the model lost the trees on the way, or asks for a term that is unknown here.
    """
    segments = given.get(SEGMENTS)
    name = type(module).__name__
    if not isinstance(segments, Segments):
        raise ModelError(
            f"{name} was called for tree attention without its trees. Either the model does not "
            "hand keyword arguments down to its attention (use --layout rows), or it was called "
            "outside of Policy (call it within Policy.generating())."
        )
    if query.shape[0] != 1:
        raise ModelError(f"{name}: tree attention knows no batch of rows. Use --layout rows.")
    try:
        terms = terms_of(module, query, attention_mask, given)
    except ModelError as error:
        raise ModelError(f"{error} Use --layout rows.") from None
    return segments.kernel(query, key, value, segments, terms), None


def register() -> None:
    """Enter tree attention in transformers' registries under `NAME`; repeating it is harmless."""
    register_attention(NAME, _attention)
