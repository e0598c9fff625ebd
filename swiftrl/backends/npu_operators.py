"""Fused operators of torch_npu, and `OPERATORS`, the list of those in use.

They are taken from `torch.ops.npu`, where torch_npu registers them when torch loads it.

Shapes: T query tokens, S key tokens, H query heads, K key-value heads, D head width, E experts,
I inputs, O outputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, cast

import torch
from torch import Tensor

from swiftrl.backends.kernels import Experts, Kernels, Sequences, VarlenAttention

__all__ = ["NPU_KERNELS", "OPERATORS"]

OPERATORS: Mapping[str, tuple[str, ...]] = {
    "npu_fusion_attention": (
        "query", "key", "value", "head_num", "input_layout", "atten_mask", "scale", "keep_prob",
        "pre_tockens", "next_tockens", "actual_seq_qlen", "actual_seq_kvlen", "sparse_mode", "sink",
    ),
    "npu_rms_norm": ("input", "gamma", "epsilon"),
    "npu_rotary_mul": ("input", "r1", "r2", "rotary_mode"),
    "npu_swiglu": ("input", "dim"),
    "npu_moe_token_permute": ("tokens", "indices"),
    "npu_moe_token_unpermute": ("permuted_tokens", "sorted_indices", "probs"),
    "npu_grouped_matmul": (
        "x", "weight", "group_list", "split_item", "group_type", "group_list_type",
    ),
}  # fmt: skip
"""Every operator that is called, with the arguments it is called with, all of them by keyword.

Names and arguments are those of torch_npu 2.10.0.post4 and 2.13.0; a test of the contract holds
them against the schemas of the installed one.
"""

_EVERYTHING = 2**31 - 1
_LOWER_RIGHT, _BAND = 3, 4
"""Sparse modes: causal from the lower right corner, and a band from it (a window)."""
_ROWS_GROUPED, _INNER_GROUPED = 0, 2
_COUNTS = 1
"""Groups are given by their sizes, not by their ends."""


@cache
def _triangle(device: torch.device) -> Tensor:
    """[2048, 2048], true above the diagonal: the form in which the operator wants causal masks."""
    return torch.ones(2048, 2048, dtype=torch.bool, device=device).triu_(1)


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    sequences: Sequences,
    *,
    scaling: float,
    window: int | None,
    soft_cap: float | None,
    sinks: Tensor | None,
    dropout: float,
) -> Tensor:
    assert soft_cap is None  # not among what NPU_KERNELS promises
    return torch.ops.npu.npu_fusion_attention(
        query=query.contiguous(),
        key=key.contiguous(),
        value=value.contiguous(),
        head_num=query.shape[1],
        input_layout="TND",
        atten_mask=_triangle(query.device),
        scale=scaling,
        keep_prob=1.0 - dropout,
        pre_tockens=_EVERYTHING if window is None else window - 1,
        next_tockens=_EVERYTHING if window is None else 0,
        actual_seq_qlen=list(sequences.query_ends),
        actual_seq_kvlen=list(sequences.key_ends),
        sparse_mode=_LOWER_RIGHT if window is None else _BAND,
        sink=None if sinks is None else sinks.float(),
    )[0]


def _rms_norm(x: Tensor, gain: Tensor, eps: float) -> Tensor:
    if gain.dtype != x.dtype:
        gain = gain.float()
    return torch.ops.npu.npu_rms_norm(input=x, gamma=gain, epsilon=eps)[0]


def _rotary(query: Tensor, key: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    cos, sin = cos.unsqueeze(1), sin.unsqueeze(1)
    turned_query, turned_key = (
        torch.ops.npu.npu_rotary_mul(input=x.to(cos.dtype), r1=cos, r2=sin, rotary_mode="half")
        for x in (query, key)
    )
    return turned_query, turned_key


def _swiglu(gate: Tensor, up: Tensor) -> Tensor:
    return _gate(torch.cat((gate, up), dim=-1))


def _gate(both: Tensor) -> Tensor:
    return torch.ops.npu.npu_swiglu(input=both.contiguous(), dim=-1)


def _permute(tokens: Tensor, experts: Tensor) -> tuple[Tensor, Tensor]:
    return torch.ops.npu.npu_moe_token_permute(tokens=tokens, indices=experts.to(torch.int32))


def _unpermute(rows: Tensor, order: Tensor, weights: Tensor) -> Tensor:
    return torch.ops.npu.npu_moe_token_unpermute(
        permuted_tokens=rows, sorted_indices=order, probs=weights.to(rows.dtype)
    )


class _GroupedProduct(torch.autograd.Function):
    """y_r = x_r W_e(r) for rows r by expert e; the operator itself has no gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, counts: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight, counts)
        return _by_rows(x, weight, counts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, counts = ctx.saved_tensors
        upstream = gradients[0].contiguous()
        d_x = d_weight = None
        if ctx.needs_input_grad[0]:
            d_x = _by_rows(upstream, weight.transpose(1, 2), counts)
        if ctx.needs_input_grad[1]:
            (d_weight,) = torch.ops.npu.npu_grouped_matmul(
                x=[x.t()],
                weight=[upstream],
                group_list=counts,
                split_item=3,
                group_type=_INNER_GROUPED,
                group_list_type=_COUNTS,
            )
        return d_x, d_weight, None


def _by_rows(x: Tensor, weight: Tensor, counts: Tensor) -> Tensor:
    """[T, O] for x [T, I] by expert and weight [E, I, O]."""
    (y,) = torch.ops.npu.npu_grouped_matmul(
        x=[x],
        weight=[weight],
        group_list=counts,
        split_item=2,
        group_type=_ROWS_GROUPED,
        group_list_type=_COUNTS,
    )
    return y


def _product(rows: Tensor, weight: Tensor, counts: Tensor) -> Tensor:
    return cast(Tensor, _GroupedProduct.apply(rows.contiguous(), weight.to(rows.dtype), counts))


NPU_KERNELS = Kernels(
    rms_norm=_rms_norm,
    swiglu=_swiglu,
    rotary=_rotary,
    experts=Experts(_permute, _product, _unpermute, _gate),
    attention=VarlenAttention(
        _attention,
        dtypes=("float16", "bfloat16", "float32"),
        widest=768,
        most_heads=256,
        sinks=True,
    ),
    source="torch_npu",
)
