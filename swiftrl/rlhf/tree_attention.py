"""Attention over a packed row of trees, for every architecture that asks the attention registry.

A trunk token sees the trunk up to itself; a branch token sees its trunk and its own branch up to
itself; trees never see each other. transformers hands keyword arguments of the model's `forward`
down to the attention function, so the trees travel with each call and nothing is kept aside.

Shapes: T packed tokens, H query heads, K key-value heads, D head width, q queries, s keys.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from swiftrl.core.errors import ModelError
from swiftrl.data.batch import TreeShape

__all__ = ["NAME", "SEGMENTS", "AttentionKernel", "Segments", "Terms", "register", "sdpa_kernel"]

NAME = "swiftrl_tree"
SEGMENTS = "tree_segments"
"""Keyword under which `Segments` travels through a model's `forward`."""

_QUERY_BLOCK = 1024
"""Longest run of branch queries in one call: bounds the mask to [_QUERY_BLOCK, s]."""

_JOINT_BRANCHES = 2
"""Up to so many branches run in one call under a common mask; more would waste the products
between branches."""


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
class Span:
    """Queries that run in one call.

    Attributes:
        start, stop: the queries' place in the row.
        keys: (start, stop) pieces of the row that hold the keys, in order.
        owners: for a joint call, the (start, stop) of each branch; else empty.
    """

    start: int
    stop: int
    keys: tuple[tuple[int, int], ...]
    owners: tuple[tuple[int, int], ...] = ()

    @property
    def num_keys(self) -> int:
        """Keys of the call."""
        return sum(stop - start for start, stop in self.keys)


@dataclass(frozen=True, eq=False)
class Segments:
    """The trees of a packed row, with the masks its layers share.

    Attributes:
        shapes: where the trees lie.
        kernel: what computes the attention.
    """

    shapes: tuple[TreeShape, ...]
    kernel: AttentionKernel
    _masks: dict[Any, Tensor | None] = field(default_factory=dict, repr=False)

    def spans(self) -> Iterator[Span]:
        """Yield the calls that make up the row's attention."""
        for shape in self.shapes:
            yield from _spans_of(shape)

    def mask(self, span: Span, window: int | None, device: torch.device) -> Tensor | None:
        """Return the [q, s] mask of a call (True: visible), or None where plainly causal."""
        key = (span, window, device)
        if key not in self._masks:
            self._masks[key] = _mask(span, window, device)
        return self._masks[key]


def _spans_of(shape: TreeShape) -> Iterator[Span]:
    if len(shape.branches) <= 1:
        yield Span(shape.start, shape.stop, ((shape.start, shape.stop),))
        return
    trunk = (shape.start, shape.start + shape.trunk)
    if shape.trunk:
        yield Span(*trunk, (trunk,))
    ends = [trunk[1]]
    for length in shape.branches:
        ends.append(ends[-1] + length)
    branches = [pair for pair in itertools.pairwise(ends) if pair[1] > pair[0]]
    if len(branches) <= _JOINT_BRANCHES and shape.stop - trunk[1] <= _QUERY_BLOCK:
        if branches:
            keys = ((shape.start, shape.stop),)
            yield Span(trunk[1], shape.stop, keys, tuple(branches))
        return
    for begin, end in branches:
        for start in range(begin, end, _QUERY_BLOCK):
            stop = min(start + _QUERY_BLOCK, end)
            yield Span(start, stop, (trunk, (begin, stop)))


def _mask(span: Span, window: int | None, device: torch.device) -> Tensor | None:
    queries, keys = span.stop - span.start, span.num_keys
    if queries == keys and not span.owners and (window is None or window >= keys):
        return None
    if span.owners:
        return _joint_mask(span, window, device)
    last = torch.arange(keys - queries, keys, device=device)[:, None]
    column = torch.arange(keys, device=device)[None, :]
    visible = column <= last
    return visible if window is None else visible & (column > last - window)


def _joint_mask(span: Span, window: int | None, device: torch.device) -> Tensor:
    first = span.keys[0][0]
    trunk = span.start - first
    visible = torch.zeros(span.stop - span.start, span.num_keys, dtype=torch.bool, device=device)
    for start, stop in span.owners:
        length = stop - start
        own = Span(start, stop, ((first, span.start), (start, stop)))
        mask = _mask(own, window, device)
        if mask is None:
            mask = torch.ones(length, length, dtype=torch.bool, device=device).tril()
        rows = slice(start - span.start, stop - span.start)
        visible[rows, :trunk] = mask[:, :trunk]
        visible[rows, start - first : stop - first] = mask[:, trunk:]
    return visible


def sdpa_kernel(
    query: Tensor, key: Tensor, value: Tensor, segments: Segments, terms: Terms
) -> Tensor:
    """Tree attention by PyTorch's scaled dot product attention, call by call; runs anywhere."""
    plain = terms.soft_cap is None and terms.sinks is None
    attend = _attend if plain else _attend_explicitly
    outputs: list[Tensor] = []
    for span in segments.spans():
        mask = segments.mask(span, terms.window, query.device)
        queries = query[:, :, span.start : span.stop]
        keys, values = _gather(key, span.keys), _gather(value, span.keys)
        outputs.append(attend(queries, keys, values, mask, terms).transpose(1, 2))
    return torch.cat(outputs, dim=1)


def _gather(states: Tensor, pieces: tuple[tuple[int, int], ...]) -> Tensor:
    parts = [states[:, :, start:stop] for start, stop in pieces if stop > start]
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)


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
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    scores = scores.masked_fill(~mask, float("-inf"))
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
            "outside of Policy (call it within Policy.plain_attention())."
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
