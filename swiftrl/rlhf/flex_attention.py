"""Tree attention by PyTorch's FlexAttention: one kernel for the whole row, compiled for the mask.

The mask is computed block by block once a batch; blocks that nobody sees are left out.

Shapes: T packed tokens, H query heads, K key-value heads, D head width.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from swiftrl.data.batch import TreeShape
from swiftrl.models.attention import Terms
from swiftrl.rlhf.fused_ops import result_dtype
from swiftrl.rlhf.tree_attention import Segments, sdpa_kernel

__all__ = ["flex_kernel", "runs_seen"]


def runs_seen(shapes: tuple[TreeShape, ...], device: torch.device | str = "cpu") -> Tensor:
    """Return what each token sees and where it stands, [4, T] int32.

    Rows: the first token of its trunk, one past that trunk's last, the first token of its own
    branch, and its position. It sees the trunk's run, and its own up to itself.
    """
    rows: list[Tensor] = []

    def add(trunk: tuple[int, int], start: int, length: int, position: int) -> None:
        constant = torch.tensor((*trunk, start), dtype=torch.int32)[:, None].expand(3, length)
        positions = torch.arange(position, position + length, dtype=torch.int32)[None]
        rows.append(torch.cat((constant, positions)))

    for shape in shapes:
        if len(shape.branches) <= 1:
            length = shape.trunk + sum(shape.branches)
            add((shape.start, shape.start), shape.start, length, 0)
            continue
        trunk = (shape.start, shape.start + shape.trunk)
        add((shape.start, shape.start), shape.start, shape.trunk, 0)
        start = trunk[1]
        for length in shape.branches:
            add(trunk, start, length, shape.trunk)
            start += length
    return torch.cat(rows, dim=1).to(device, non_blocking=True)


def _mask(shapes: tuple[TreeShape, ...], window: int | None, tokens: int, device: Any) -> Any:
    from torch.nn.attention.flex_attention import create_block_mask

    trunk_start, trunk_stop, own_start, position = runs_seen(shapes, device)

    def seen(_: Tensor, __: Tensor, query: Tensor, key: Tensor) -> Tensor:
        in_trunk = (key >= trunk_start[query]) & (key < trunk_stop[query])
        visible = in_trunk | ((key >= own_start[query]) & (key <= query))
        if window is not None:
            visible = visible & (position[query] - position[key] < window)
        return visible

    return create_block_mask(seen, None, None, tokens, tokens, device=device)


def flex_kernel(
    query: Tensor, key: Tensor, value: Tensor, segments: Segments, terms: Terms
) -> Tensor:
    """Map query [1, H, T, D] and key, value [1, K, T, D] to [1, T, H, D].

    Windows, soft caps and sinks are known; dropout goes to `sdpa_kernel`.
    """
    if terms.dropout or not query.shape[2]:
        return sdpa_kernel(query, key, value, segments, terms)
    from torch.nn.attention.flex_attention import AuxRequest

    tokens, device = query.shape[2], query.device
    mask = segments.once(
        ("flex", terms.window, device), lambda: _mask(segments.shapes, terms.window, tokens, device)
    )
    dtype = result_dtype(torch.empty(0, dtype=value.dtype, device=device))
    query, key, value = (x.to(dtype).contiguous() for x in (query, key, value))
    found = _attend(device.type)(
        query,
        key,
        value,
        score_mod=None if terms.soft_cap is None else _capped(terms.soft_cap, device),
        block_mask=mask,
        scale=terms.scaling,
        enable_gqa=query.shape[1] != key.shape[1],
        return_aux=None if terms.sinks is None else AuxRequest(lse=True),
    )
    if terms.sinks is None:
        return found.transpose(1, 2)
    output, aux = found
    # A key without value takes the share exp(sink) / (exp(sink) + sum of exp(score)).
    rest = torch.sigmoid(aux.lse - terms.sinks.float()[:, None])
    return (output * rest[..., None].to(output.dtype)).transpose(1, 2)


@cache
def _capped(soft_cap: float, device: torch.device) -> Callable[..., Tensor]:
    # A tensor: another number would be another program.
    cap = torch.tensor(soft_cap, device=device)

    def score(value: Tensor, *_: Tensor) -> Tensor:
        return torch.tanh(value / cap) * cap

    return score


@cache
def _attend(device_type: str) -> Callable[..., Any]:
    """Return FlexAttention, compiled where that gives a kernel with gradient."""
    from torch.nn.attention.flex_attention import flex_attention

    return flex_attention if device_type == "cpu" else torch.compile(flex_attention, dynamic=True)
