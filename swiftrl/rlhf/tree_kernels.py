"""Which kernels of the hardware are used: those that do what they should."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from swiftrl.backends.base import Backend
from swiftrl.backends.kernel_check import checked, difference
from swiftrl.backends.kernels import Kernels
from swiftrl.core import log
from swiftrl.data.batch import TreeShape
from swiftrl.models.attention import Terms
from swiftrl.rlhf.block_attention import block_kernel
from swiftrl.rlhf.flex_attention import flex_kernel
from swiftrl.rlhf.tree_attention import AttentionKernel, Segments, sdpa_kernel
from swiftrl.rlhf.varlen_attention import VarlenKernel

__all__ = ["checked_kernels", "choose_tree_kernel", "tree_kernels"]

_FLEX = "flex_attention"
_SHAPES = (TreeShape(0, 20, (9, 14)), TreeShape(43, 0, (5, 6)), TreeShape(54, 17, (8,)))
_TOKENS = 79


@dataclass(frozen=True, slots=True)
class Heads:
    """Query heads, key-value heads, and the widths of keys and values."""

    query: int
    key: int
    width: int
    value_width: int


def checked_kernels(
    backend: Backend, device: torch.device, dtype: torch.dtype, *, liger: bool = False
) -> Kernels:
    """Return the hardware's kernels without those that fail or give other values.

    Args:
        backend: the hardware.
        device: where they will run.
        dtype: type of the computation.
        liger: with Liger's.

    Raises:
        SwiftRLError: Liger's cannot be had.
    """
    kernels, refused = checked(backend.kernels(liger=liger), device, dtype)
    for refusal in refused:
        log.warn(f"{kernels.source}: {refusal.kernel} is not used, plain PyTorch is: it "
                 f"{refusal.reason}")  # fmt: skip
    if kernels.names():
        log.info(f"fused kernels of {kernels.source}: {', '.join(kernels.names())}")
    return kernels


def tree_kernels(
    kernels: Kernels, attention: Sequence[str]
) -> Iterator[tuple[str, AttentionKernel]]:
    """Yield what may compute tree attention, best first; the last one always can.

    Args:
        kernels: of the hardware, checked.
        attention: implementations that the hardware can run, see `Capabilities`.
    """
    if kernels.attention is not None:
        yield f"sequences of any lengths ({kernels.source})", VarlenKernel(kernels.attention)
    if _FLEX in attention:
        yield "FlexAttention", flex_kernel
    yield "scaled dot product attention", block_kernel


def choose_tree_kernel(
    kernels: Kernels,
    attention: Sequence[str],
    config: Any,
    device: torch.device,
    dtype: torch.dtype,
) -> AttentionKernel:
    """Return the first of `tree_kernels` that gives plain attention's values and gradients.

    Args:
        kernels: of the hardware, checked.
        attention: implementations that the hardware can run.
        config: the language model's configuration, for its heads.
        device: where it will run.
        dtype: type of the computation.
    """
    heads = _heads(config)
    for name, kernel in tree_kernels(kernels, attention):
        if kernel is block_kernel:
            break
        reason = _fault(kernel, heads, device, dtype)
        if reason is None:
            log.info(f"tree attention: {name}")
            return kernel
        log.warn(f"tree attention by {name} is not used: {reason}")
    return block_kernel


def _heads(config: Any) -> Heads:
    query = config.num_attention_heads
    key = getattr(config, "num_key_value_heads", None) or query
    width = getattr(config, "head_dim", None) or config.hidden_size // query
    latent = getattr(config, "qk_nope_head_dim", None)
    if latent is not None:  # multi-head latent attention
        return Heads(query, key, latent + config.qk_rope_head_dim, config.v_head_dim)
    return Heads(query, key, width, width)


def _fault(
    kernel: AttentionKernel, heads: Heads, device: torch.device, dtype: torch.dtype
) -> str | None:
    try:
        error = difference(
            _run(kernel, heads, device, dtype), _run(sdpa_kernel, heads, device, torch.float32)
        )
    except _failures() as failure:
        return f"it failed ({(str(failure).splitlines() or [type(failure).__name__])[0][:200]})"
    bound = 1e-4 if dtype == torch.float32 else 2e-2
    if not error <= bound:
        return f"it differs from plain attention by {error:.1e}, more than {bound:g}"
    return None


def _failures() -> tuple[type[Exception], ...]:
    """What a kernel may raise; a compiler's errors are RuntimeErrors."""
    return (RuntimeError, TypeError, ValueError, AttributeError, ImportError, AssertionError)


def _run(
    kernel: AttentionKernel, heads: Heads, device: torch.device, dtype: torch.dtype
) -> list[Tensor]:
    """Values and gradients of a small row of trees, for inputs that `dtype` may have to round."""
    generator = torch.Generator().manual_seed(0)
    sizes = ((heads.query, heads.width), (heads.key, heads.width), (heads.key, heads.value_width))
    states = [
        torch.randn(1, count, _TOKENS, width, generator=generator).bfloat16().to(device, dtype)
        for count, width in sizes
    ]
    upstream = torch.randn(1, _TOKENS, heads.query, heads.value_width, generator=generator)
    with torch.enable_grad(), torch.autocast(device.type, enabled=False):
        query, key, value = (x.requires_grad_() for x in states)
        terms = Terms(heads.width**-0.5, window=24)
        output = kernel(query, key, value, Segments(_SHAPES, kernel), terms)
        upstream = upstream.to(device, output.dtype)
        return [output, *torch.autograd.grad(output, (query, key, value), upstream)]
