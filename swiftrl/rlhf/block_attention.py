"""Tree attention by blocks of queries, for processors that multiply 16-bit numbers natively.

torch's own kernel for processors multiplies head by head in tiles too small for the matrix
product's fast path. Here the query heads that share a key-value head are rows of one product, as
many queries at once as memory allows, and keys behind a block are never looked at. The weights
are kept for the backward pass where they are few, and computed again in it elsewhere, so that
memory never grows with the square of a row's length.

Shapes: T packed tokens, H query heads, K key-value heads, G = H / K, D head width, n queries of a
block, s keys that a block sees.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from swiftrl.backends.products import exact_sums
from swiftrl.rlhf.fused_ops import autocast_off
from swiftrl.rlhf.tree_attention import Segments, Terms, sdpa_kernel

__all__ = ["block_kernel"]

_ROWS = 128
"""Most queries of a block: more would compute more of the masked triangle."""
_SCORES = 2**22
"""Scores of a block at most (16 MiB)."""
_KEPT = 8
"""Weights are kept for the backward pass if they are at most so many times the queries."""


@dataclass(frozen=True, slots=True)
class _Block:
    """Queries that run together.

    Attributes:
        rows: where the queries lie in the packed row.
        columns: the runs of the packed row that hold the keys, in the order of their positions.
        ahead: how many keys lie before the first query's own.
    """

    rows: slice
    columns: tuple[slice, ...]
    ahead: int

    @property
    def length(self) -> int:
        """Return how many queries there are."""
        return self.rows.stop - self.rows.start


def _blocks(segments: Segments, window: int | None, heads: int) -> Iterator[_Block]:
    pieces, calls = segments.plan(window)
    starts = [0]
    for piece in pieces:
        starts.append(starts[-1] + piece.length)
    for call in calls:
        *earlier, own = call.keys
        before = [slice(starts[i], starts[i] + pieces[i].length) for i in earlier]
        ahead = sum(pieces[i].length for i in earlier)
        length, begin = pieces[own].length, starts[own]
        most = min(_ROWS, max(_SCORES // (heads * (ahead + length)), 16))
        # In equal parts: a short rest would cost as much as a block.
        step = -(-length // max(round(length / most), 1)) or 1
        for first in range(0, length, step):
            last = min(first + step, length)
            yield _Block(
                rows=slice(begin + first, begin + last),
                columns=(*before, slice(begin, begin + last)),
                ahead=ahead + first,
            )


def _hide(scores: Tensor, ahead: int, window: int | None) -> None:
    """Take from each query the keys behind it, and those that its window has left; in place.

    Args:
        scores: [..., n, s]; the last n keys are the queries' own.
        ahead: s - n.
        window: keys a query sees at most.
    """
    n, s = scores.shape[-2:]
    infinite = torch.full((n, n), float("-inf"), device=scores.device)
    scores[..., ahead:].add_(infinite.triu_(1))
    if window is not None and s > window:
        row = torch.arange(ahead, s, device=scores.device)[:, None]
        left = torch.arange(s, device=scores.device) <= row - window
        scores.masked_fill_(left, float("-inf"))


@dataclass(frozen=True, slots=True)
class _Setting:
    blocks: tuple[_Block, ...]
    scaling: float
    window: int | None
    exactly: Callable[[], AbstractContextManager[None]]

    def weights(self, block: _Block, query: Tensor, key: Tensor) -> Tensor:
        """Return [K, G n, s] softmax weights in bfloat16 of query [K, G n, D], key [K, s, D]."""
        with autocast_off(key.device), self.exactly():
            scores = torch.empty(len(key), query.shape[1], key.shape[1], device=key.device)
            torch.baddbmm(
                scores,
                query.float(),
                key.float().transpose(1, 2),
                beta=0,
                alpha=self.scaling,
                out=scores,
            )
        _hide(scores.view(-1, block.length, key.shape[1]), block.ahead, self.window)
        return torch.softmax(scores, -1, out=scores).to(query.dtype)


def _folded(states: Tensor, rows: slice, groups: int) -> Tensor:
    """Return [K, G n, D] of states [H, T, D]."""
    part = states[:, rows]
    return part.reshape(len(states) // groups, -1, states.shape[-1])


def _joined(states: Tensor, columns: tuple[slice, ...]) -> Tensor:
    """Return [K, s, D] of states [K, T, D]."""
    parts = [states[:, run] for run in columns]
    return torch.cat(parts, dim=1) if len(parts) > 1 else parts[0].contiguous()


class _BlockAttention(torch.autograd.Function):
    """softmax(scaling Q K^T + mask) V; scores and softmax in float32, products in 16 bits."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, setting: _Setting) -> Tensor:
        heads, tokens, _ = query.shape
        groups = heads // len(key)
        output = query.new_empty(tokens, heads, value.shape[-1])
        scores = heads * sum(
            block.length * (block.ahead + block.length) for block in setting.blocks
        )
        keeps = any(ctx.needs_input_grad[:3]) and scores <= _KEPT * query.numel()
        kept: list[Tensor] = []
        for block in setting.blocks:
            q = _folded(query, block.rows, groups)
            weights = setting.weights(block, q, _joined(key, block.columns))
            attended = weights @ _joined(value, block.columns)
            if keeps:
                kept.append(weights)
            output[block.rows] = attended.view(heads, -1, value.shape[-1]).transpose(0, 1)
        ctx.save_for_backward(query, key, value, *kept)
        ctx.setting = setting
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, *kept = ctx.saved_tensors
        setting: _Setting = ctx.setting
        groups = len(query) // len(key)
        upstream = gradients[0].transpose(0, 1)
        d_query = torch.empty_like(query)
        # Many blocks add to a key's gradient.
        d_key = torch.zeros_like(key, dtype=torch.float32)
        d_value = torch.zeros_like(value, dtype=torch.float32)
        for number, block in enumerate(setting.blocks):
            q, g = (_folded(states, block.rows, groups) for states in (query, upstream))
            k, v = _joined(key, block.columns), _joined(value, block.columns)
            weights = kept[number] if kept else setting.weights(block, q, k)
            d_scores = torch._softmax_backward_data(
                g @ v.transpose(1, 2), weights, -1, weights.dtype
            )
            d_q = (d_scores @ k).mul_(setting.scaling)
            d_query[:, block.rows] = d_q.view(len(query), -1, query.shape[-1])
            d_k = (d_scores.transpose(1, 2) @ q).mul_(setting.scaling)
            _add(d_key, d_k, block.columns)
            _add(d_value, weights.transpose(1, 2) @ g, block.columns)
        return d_query, d_key.to(key.dtype), d_value.to(value.dtype), None


def _add(total: Tensor, part: Tensor, columns: tuple[slice, ...]) -> None:
    """Add [K, s, D] to the columns of [K, T, D] it belongs to."""
    lengths = [run.stop - run.start for run in columns]
    for run, piece in zip(columns, part.split(lengths, dim=1), strict=True):
        total[:, run] += piece


def block_kernel(
    query: Tensor, key: Tensor, value: Tensor, segments: Segments, terms: Terms
) -> Tensor:
    """Tree attention by blocks where the hardware gains from it; elsewhere `sdpa_kernel`.

    Soft caps, sinks and dropout go to `sdpa_kernel` as well.
    """
    exactly = exact_sums(query.device, query.dtype)
    plain = terms.soft_cap is None and terms.sinks is None and not terms.dropout
    if exactly is None or not plain or not query.dtype == key.dtype == value.dtype:
        return sdpa_kernel(query, key, value, segments, terms)
    blocks = tuple(_blocks(segments, terms.window, query.shape[1]))
    setting = _Setting(blocks, terms.scaling, terms.window, exactly)
    output = _BlockAttention.apply(query[0], key[0], value[0], setting)
    return cast(Tensor, output)[None]
