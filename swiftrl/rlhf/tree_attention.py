"""Attention over a packed row of trees, for every architecture that asks the attention registry.

A trunk token sees the trunk up to itself; a branch token sees its trunk and its own branch up to
itself; trees never see each other. transformers hands keyword arguments of the model's `forward`
down to the attention function, so the trees travel with each call and nothing is kept aside.

Shapes: T packed tokens, H query heads, K key-value heads, D head width, q queries, s keys.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from swiftrl.core.errors import ModelError
from swiftrl.data.batch import TreeShape

__all__ = [
    "NAME",
    "SEGMENTS",
    "AttentionKernel",
    "Segments",
    "Terms",
    "register",
    "sdpa_kernel",
    "use_attention",
]

Made = TypeVar("Made")

NAME = "swiftrl_tree"
SEGMENTS = "tree_segments"
"""Keyword under which `Segments` travels through a model's `forward`."""

_BLOCK = 1024
"""Longest run of queries under one mask, which is then at most [_BLOCK, s]."""


@dataclass(frozen=True, slots=True)
class Terms:
    """How scores become weights.

    Attributes:
        scaling: factor on the scores.
        window: keys a query sees at most, itself included; None is all.
        soft_cap: scores become cap * tanh(score / cap) (Gemma 2, arXiv:2408.00118); None is off.
        sinks: [H] scores of a key without a value that every query sees (gpt-oss); None is off.
        dropout: probability of dropping a weight.
    """

    scaling: float
    window: int | None = None
    soft_cap: float | None = None
    sinks: Tensor | None = None
    dropout: float = 0.0


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
    plain = terms.soft_cap is None and terms.sinks is None
    attend = _attend if plain else _attend_explicitly
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


def _attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, terms: Terms) -> Tensor:
    return F.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=mask,
        is_causal=mask is None,
        dropout_p=terms.dropout,
        scale=terms.scaling,
        enable_gqa=query.shape[1] != key.shape[1],
    )


def _attend_explicitly(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, terms: Terms
) -> Tensor:
    """Score by score in float32, for soft caps and sinks: scaled_dot_product_attention has none."""
    repeats = query.shape[1] // key.shape[1]
    if repeats > 1:
        key, value = key.repeat_interleave(repeats, 1), value.repeat_interleave(repeats, 1)
    scores = (query @ key.transpose(-1, -2)).float() * terms.scaling
    if terms.soft_cap is not None:
        scores = torch.tanh(scores / terms.soft_cap) * terms.soft_cap
    if mask is None:
        mask = scores.new_full(scores.shape[-2:], float("-inf")).triu_(1)
    scores = scores + mask
    if terms.sinks is not None:
        sinks = terms.sinks.float().view(1, -1, 1, 1).expand(*scores.shape[:-1], 1)
        weights = torch.cat([scores, sinks], dim=-1).softmax(dim=-1)[..., :-1]
    else:
        weights = scores.softmax(dim=-1)
    return F.dropout(weights, terms.dropout).to(value.dtype) @ value


@dataclass(frozen=True, slots=True)
class _Window:
    """Stands in the mask's place for layers that see a window."""

    tokens: int


_REFUSED = ("position_bias", "cache", "head_mask", "block_mask")


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: _Window | Tensor | None,
    *,
    scaling: float | None = None,
    dropout: float = 0.0,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """The function transformers calls for every attention layer.

    The window is the mask's, not the keyword's: the rows layout obeys the mask alone.

    Raises:
        ModelError: the model lost the trees on the way, or asks for a term that is unknown here.
    """
    segments = kwargs.get(SEGMENTS)
    name = type(module).__name__
    if not isinstance(segments, Segments):
        raise ModelError(
            f"{name} was called for tree attention without its trees. Either the model does not "
            "hand keyword arguments down to its attention (use --layout rows), or it was called "
            "outside of Policy (call it within Policy.generating())."
        )
    refused = [term for term in _REFUSED if kwargs.get(term) is not None]
    windowed = isinstance(attention_mask, _Window)
    if refused or query.shape[0] != 1 or not (windowed or attention_mask is None):
        found = ", ".join(refused) or "attention mask of a model's own, nor a batch of rows"
        raise ModelError(f"{name}: tree attention knows no {found}. Use --layout rows.")
    terms = Terms(
        scaling=query.shape[-1] ** -0.5 if scaling is None else scaling,
        window=attention_mask.tokens if isinstance(attention_mask, _Window) else None,
        soft_cap=softcap,
        sinks=s_aux,
        dropout=dropout,
    )
    return segments.kernel(query, key, value, segments, terms), None


def _mask_stand_in(
    *,
    config: Any = None,
    local_size: int | None = None,
    use_vmap: bool = False,
    allow_is_bidirectional_skip: bool | None = None,
    **_: Any,
) -> _Window | None:
    """The function transformers calls for a mask: the trees say what is seen, but for windows.

    Raises:
        ModelError: the model wants a mask that is not causal, or windows of another kind.
    """
    window = getattr(config, "sliding_window", None)
    special = use_vmap or allow_is_bidirectional_skip is not None
    if special or (local_size is not None and local_size != window):
        raise ModelError(
            f"{getattr(config, 'model_type', 'the model')} masks its attention in a way that tree "
            "attention does not know. Use --layout rows."
        )
    return None if local_size is None else _Window(local_size)


def register() -> None:
    """Enter tree attention in transformers' registries under `NAME`; repeating it is harmless."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface

    known: Mapping[str, Any] = AttentionInterface._global_mapping
    if NAME not in known:
        AttentionInterface.register(NAME, _attention)
        AttentionMaskInterface.register(NAME, _mask_stand_in)


def use_attention(config: Any, name: str | None) -> None:
    """Give a language model's configuration an attention, and leave its encoders theirs.

    A configuration hands what it is given down to those within, an encoder's for example.
    """
    parts = [getattr(config, part, None) for part in config.sub_configs]
    before = [(part, part._attn_implementation) for part in parts if part is not None]
    config._attn_implementation = name
    for part, own in before:
        part._attn_implementation = own
