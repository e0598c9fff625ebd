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

from bisect import bisect_left
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from swiftrl.backends.products import exact_sums
from swiftrl.models.attention import Terms
from swiftrl.rlhf.fused_ops import autocast_off
from swiftrl.rlhf.tree_attention import Segments, sdpa_kernel

__all__ = ["block_kernel"]

_ROWS = 128
"""Most queries of a block: more would compute more of the masked triangle."""
_UNIT = 16
"""Blocks come in multiples of it: a matrix product of a new shape is compiled first, which takes
longer than the product of a block does."""
_SCORES = 2**22
"""Scores of a block at most (16 MiB)."""
_KEPT = 8
"""Weights are kept for the backward pass if they are at most so many times the queries."""


@dataclass(frozen=True, slots=True)
class _Block:
    """Queries that run together.

    Attributes:
        start: where the queries begin in the packed row.
        length: how many there are.
        padded: how many run: n. Those behind `length` are whatever lies there, and weigh nothing.
        columns: the runs of the packed row that hold the keys, in the order of their positions.
        ahead: how many keys lie before the first query's own.
    """

    start: int
    length: int
    padded: int
    columns: tuple[slice, ...]
    ahead: int

    @property
    def keys(self) -> int:
        """Return how many keys run: s."""
        return sum(run.stop - run.start for run in self.columns)


def _blocks(segments: Segments, window: int | None, heads: int) -> Iterator[_Block]:
    pieces, calls = segments.plan(window)
    starts, wanted = [0], _asking(segments)
    for piece in pieces:
        starts.append(starts[-1] + piece.length)
    for call in calls:
        *earlier, own = call.keys
        before = [slice(starts[i], starts[i + 1]) for i in earlier]
        ahead = sum(pieces[i].length for i in earlier)
        begin = starts[own]
        asked = wanted(begin, starts[own + 1])
        length = asked.stop - asked.start
        most = min(_ROWS, max(_SCORES // (heads * (ahead + pieces[own].length)), _UNIT))
        # In equal parts: a short rest would cost as much as a block.
        step = _rounded(-(-length // max(round(length / most), 1)), _UNIT)
        for first in range(asked.start, asked.stop, step or 1):
            known = ahead + first - begin
            keys = _rounded(known + step, _unit(known + step))
            yield _Block(
                start=first,
                length=min(step, asked.stop - first),
                padded=step,
                columns=tuple(_merged([*before, slice(begin, begin + keys - ahead)])),
                ahead=known,
            )


def _asking(segments: Segments) -> Callable[[int, int], slice]:
    """Return what gives the tokens of a run, from the first to the last, whose result is read."""
    if not segments.last or segments.read_rows is None:
        return slice
    # Brought to the host in the last layer alone.
    rows = segments.read_rows.tolist()

    def read(start: int, stop: int) -> slice:
        found = rows[bisect_left(rows, start) : bisect_left(rows, stop)]
        return slice(found[0], found[-1] + 1) if found else slice(start, start)

    return read


def _rounded(count: int, unit: int) -> int:
    return -(-count // unit) * unit


def _unit(keys: int) -> int:
    """Return what a number of keys is rounded up to: up to an eighth of it."""
    return max(2 * _UNIT, 1 << (keys.bit_length() - 4))


def _merged(runs: list[slice]) -> Iterator[slice]:
    """Yield the same tokens in as few runs as they lie in: only gaps need a copy."""
    first = runs[0]
    for run in runs[1:]:
        if run.start == first.stop:
            first = slice(first.start, run.stop)
        else:
            yield first
            first = run
    yield first


@dataclass(frozen=True, slots=True)
class _Setting:
    """What the blocks share.

    Attributes:
        blocks: all of them; a token whose result is read is a query of one.
        room: tokens that the packed row must have, padding included.
    """

    blocks: tuple[_Block, ...]
    room: int
    scaling: float
    window: int | None
    exactly: Callable[[], AbstractContextManager[None]]


def _by_token(states: Tensor, key_heads: int, room: int) -> Tensor:
    """Return [K, room G, D] of states [T, H, D]: a token's heads of a group lie side by side."""
    tokens, heads, width = states.shape
    laid = states.new_empty(key_heads, room, heads // key_heads, width)
    laid[:, :tokens] = states.unflatten(1, (key_heads, -1)).transpose(0, 1)
    laid[:, tokens:] = 0
    return laid.flatten(1, 2)


def _by_head(states: Tensor, tokens: int, groups: int) -> Tensor:
    """Return [T, H, D] of states [K, room G, D], contiguous: models take views of it."""
    return states.unflatten(1, (-1, groups))[:, :tokens].transpose(0, 1).flatten(1, 2).contiguous()


def _joined(states: Tensor, columns: tuple[slice, ...]) -> Tensor:
    """Return [K, s, D] of states [K, room, D]."""
    parts = [states[:, run] for run in columns]
    return torch.cat(parts, dim=1) if len(parts) > 1 else parts[0]


class _Weights:
    """Softmax weights of blocks, in the queries' type; scores in float32.

    Args:
        query: [K, room G, D].
        key: [K, room, D].
    """

    def __init__(self, query: Tensor, key: Tensor, setting: _Setting) -> None:
        self.query, self.key, self.setting = query, key.float(), setting
        self.groups = query.shape[1] // key.shape[1]
        rows = max(block.padded for block in setting.blocks)
        columns = max(block.keys - block.ahead for block in setting.blocks)
        self.behind = torch.full((rows, columns), float("-inf"), device=key.device).triu_(1)

    def rows(self, block: _Block) -> slice:
        """Return where the queries lie that run."""
        return slice(block.start * self.groups, (block.start + block.padded) * self.groups)

    def put(self, found: Tensor, block: _Block, total: Tensor) -> None:
        """Write a block's part of `found`, [K, n G, D], to its place in `total`."""
        start, rows = block.start * self.groups, block.length * self.groups
        total[:, start : start + rows] = found[:, :rows]

    def __call__(self, block: _Block) -> Tensor:
        """Return [K, n G, s]."""
        query, key = self.query[:, self.rows(block)].float(), _joined(self.key, block.columns)
        scores = torch.empty(len(key), query.shape[1], key.shape[1], device=key.device)
        with autocast_off(key.device), self.setting.exactly():
            torch.baddbmm(
                scores, query, key.transpose(1, 2), beta=0, alpha=self.setting.scaling, out=scores
            )
        self._hide(scores.unflatten(1, (-1, self.groups)), block.ahead)
        weights = torch.softmax(scores, -1, out=scores).to(self.query.dtype)
        if block.length < block.padded:
            weights[:, block.length * self.groups :] = 0
        return weights

    def _hide(self, scores: Tensor, ahead: int) -> None:
        """Take from each query the keys behind it, and those its window has left; in place.

        Args:
            scores: [K, n, G, s].
            ahead: keys before the first query's own.
        """
        _, n, _, s = scores.shape
        scores[..., ahead:].add_(self.behind[:n, None, : s - ahead])
        window = self.setting.window
        if window is not None and s > window:
            row = torch.arange(ahead, ahead + n, device=scores.device)[:, None, None]
            left = torch.arange(s, device=scores.device) <= row - window
            scores.masked_fill_(left, float("-inf"))


class _BlockAttention(torch.autograd.Function):
    """softmax(scaling Q K^T + mask) V; scores and softmax in float32, products in 16 bits.

    Args of forward: query [T, H, D]; key, value [T, K, D].
    """

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, setting: _Setting) -> Tensor:
        tokens, heads, _ = query.shape
        key_heads = key.shape[1]
        query = _by_token(query, key_heads, setting.room)
        key, value = (_by_token(states, key_heads, setting.room) for states in (key, value))
        scores = heads * sum(block.padded * block.keys for block in setting.blocks)
        keeps = any(ctx.needs_input_grad[:3]) and scores <= _KEPT * query.numel()
        kept: list[Tensor] = []
        output = query.new_zeros(key_heads, query.shape[1], value.shape[-1])
        weights_of = _Weights(query, key, setting)
        for block in setting.blocks:
            weights = weights_of(block)
            weights_of.put(weights @ _joined(value, block.columns), block, output)
            if keeps:
                kept.append(weights)
        ctx.save_for_backward(query, key, value, *kept)
        ctx.setting = setting
        return _by_head(output, tokens, heads // key_heads)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, *kept = ctx.saved_tensors
        setting: _Setting = ctx.setting
        tokens, heads, _ = gradients[0].shape
        upstream = _by_token(gradients[0], len(key), setting.room)
        d_query = torch.zeros_like(query)
        # Many blocks add to a key's gradient.
        d_key = torch.zeros_like(key, dtype=torch.float32)
        d_value = torch.zeros_like(value, dtype=torch.float32)
        weights_of = _Weights(query, key, setting)
        for number, block in enumerate(setting.blocks):
            rows = weights_of.rows(block)
            k, v = _joined(key, block.columns), _joined(value, block.columns)
            weights = kept[number] if kept else weights_of(block)
            d_scores = torch._softmax_backward_data(
                upstream[:, rows] @ v.transpose(1, 2), weights, -1, weights.dtype
            )
            weights_of.put(d_scores @ k, block, d_query)
            _add(d_key, d_scores.transpose(1, 2) @ query[:, rows], block.columns)
            _add(d_value, weights.transpose(1, 2) @ upstream[:, rows], block.columns)
        d_query = _by_head(d_query.mul_(setting.scaling), tokens, heads // len(key))
        d_key = _by_head(d_key.mul_(setting.scaling).to(key.dtype), tokens, 1)
        return d_query, d_key, _by_head(d_value.to(value.dtype), tokens, 1), None


def _add(total: Tensor, part: Tensor, columns: tuple[slice, ...]) -> None:
    """Add [K, s, D] to the columns of [K, room, D] it belongs to."""
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
    if not blocks:  # nothing is read
        return sdpa_kernel(query, key, value, segments, terms)
    reach = max(max(b.start + b.padded, b.columns[-1].stop) for b in blocks)
    room = max(reach, query.shape[2])
    setting = _Setting(blocks, room, terms.scaling, terms.window, exactly)
    states = (states[0].transpose(0, 1) for states in (query, key, value))
    return cast(Tensor, _BlockAttention.apply(*states, setting))[None]
