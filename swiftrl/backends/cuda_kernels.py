"""Fused kernels for NVIDIA and AMD GPUs: flash_attn's and, where asked for, Liger's.

Both are optional packages, imported when they are wanted. Not yet run on a GPU.

Shapes: T query tokens, S key tokens, H query heads, K key-value heads, D head width.
"""

from __future__ import annotations

import importlib.util
from typing import Any

import torch
from torch import Tensor

from swiftrl.backends.kernels import Kernels, Sequences, VarlenAttention
from swiftrl.core.compat import require

__all__ = ["cuda_kernels"]

_LIGER = {"extra": "liger", "purpose": "--use_liger_kernel true"}


def cuda_kernels(*, liger: bool) -> Kernels:
    """Return flash_attn's attention if it is installed, and Liger's kernels if asked for.

    Raises:
        ConfigError: Liger is asked for and not installed.
    """
    attention, sources = None, []
    if importlib.util.find_spec("flash_attn") is not None:
        attention = VarlenAttention(_flash_attention, soft_cap=True)
        sources.append("flash_attn")
    if not liger:
        return Kernels(attention=attention, source=", ".join(sources))
    require("liger_kernel", **_LIGER)
    return Kernels(
        rms_norm=_rms_norm,
        swiglu=_swiglu,
        rotary=_rotary,
        attention=attention,
        source=", ".join([*sources, "liger_kernel"]),
    )


def _flash_attention(
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
    assert sinks is None  # not among what cuda_kernels promises
    flash: Any = importlib.import_module("flash_attn")
    query_starts, key_starts = sequences.starts(query.device)
    longest_query, longest_key = sequences.longest
    # Causal from the lower right corner, since its version 2.1.
    return flash.flash_attn_varlen_func(
        query,
        key,
        value,
        cu_seqlens_q=query_starts,
        cu_seqlens_k=key_starts,
        max_seqlen_q=longest_query,
        max_seqlen_k=longest_key,
        dropout_p=dropout,
        softmax_scale=scaling,
        causal=True,
        window_size=(-1, -1) if window is None else (window - 1, 0),
        softcap=soft_cap or 0.0,
    )


def _liger() -> Any:
    return require("liger_kernel.ops", **_LIGER)


def _rms_norm(x: Tensor, gain: Tensor, eps: float) -> Tensor:
    # Not in place: residual streams need the gradient that it would overwrite.
    return _liger().LigerRMSNormFunction.apply(x, gain, eps, 0.0, "gemma", False, None)


def _swiglu(gate: Tensor, up: Tensor) -> Tensor:
    return _liger().LigerSiLUMulFunction.apply(gate, up)


def _rotary(query: Tensor, key: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    # It turns what it is given in place, or a copy where that is not contiguous.
    query, key = (torch.clone(x) for x in (query, key))
    return _liger().LigerRopeFunction.apply(query, key, cos, sin)
