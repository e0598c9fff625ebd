"""Kernels of the hardware against the plain operations they stand for, once, when they are taken.

A kernel that fails or gives other values or gradients is not used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from swiftrl.backends.kernels import Experts, Kernels, Sequences, VarlenAttention

__all__ = ["Refusal", "checked", "difference"]

_TOLERANCE = {torch.float32: 1e-4}
_NARROW_TOLERANCE = 2e-2
"""Of 16-bit types: several roundings of 2^-9 or 2^-12 each."""
_FAILURES = (RuntimeError, TypeError, ValueError, AttributeError, NotImplementedError, ImportError)
"""What a missing, older or newer library may raise."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A kernel that is not used, and why."""

    kernel: str
    reason: str


@dataclass(frozen=True, slots=True)
class _Case:
    """A kernel as a function of tensors, the plain operation, and inputs for both."""

    kernel: Callable[..., Tensor]
    plain: Callable[..., Tensor]
    inputs: tuple[Tensor, ...]


def checked(
    kernels: Kernels, device: torch.device, dtype: torch.dtype
) -> tuple[Kernels, list[Refusal]]:
    """Try every kernel out on `device` in `dtype`, values and gradients.

    Returns:
        the kernels that do what they should, and the others with the reason.
    """
    refused: list[Refusal] = []
    for name in kernels.names():
        make: Any = _CASES[name]
        try:
            error = max(_error(case) for case in make(getattr(kernels, name), device, dtype))
        except _FAILURES as failure:
            first = (str(failure).splitlines() or [type(failure).__name__])[0]
            refused.append(Refusal(name, f"failed ({first[:200]})"))
        else:
            bound = _TOLERANCE.get(dtype, _NARROW_TOLERANCE)
            if not error <= bound:
                reason = f"differs from the plain operation by {error:.1e}, more than {bound:g}"
                refused.append(Refusal(name, reason))
    for refusal in refused:
        kernels = kernels.without(refusal.kernel)
    return kernels, refused


def difference(found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """Return the largest root mean square error of a tensor, over the expected one's size."""
    errors = [
        (f.detach().float() - e.detach().float()).square().mean().sqrt()
        / e.detach().float().square().mean().sqrt().clamp_min(1e-6)
        for f, e in zip(found, expected, strict=True)
    ]
    return float(torch.stack(errors).max())


def _error(case: _Case) -> float:
    own = [x.clone().requires_grad_() for x in case.inputs]
    wide = [x.float().requires_grad_() for x in case.inputs]
    with torch.enable_grad():
        found, expected = case.kernel(*own), case.plain(*wide)
        upstream = _random(found.shape, found.device, found.dtype, seed=9)
        gradients = torch.autograd.grad(found, own, upstream)
        plain = torch.autograd.grad(expected, wide, upstream.float())
    return difference((found, *gradients), (expected, *plain))


def _random(shape: Sequence[int], device: Any, dtype: torch.dtype, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator).to(device, dtype)


def _norm(kernel: Any, device: torch.device, dtype: torch.dtype) -> Iterator[_Case]:
    x, gain = _random((2, 5, 64), device, dtype, 0), _random((64,), device, dtype, 1)
    yield _Case(
        lambda x, gain: kernel(x, gain, 1e-5), lambda x, gain: F.rms_norm(x, (64,), gain, 1e-5),
        (x, gain),
    )  # fmt: skip


def _gate(kernel: Any, device: torch.device, dtype: torch.dtype) -> Iterator[_Case]:
    gate, up = (_random((2, 5, 64), device, dtype, seed) for seed in (0, 1))
    yield _Case(kernel, lambda gate, up: F.silu(gate) * up, (gate, up))


def _turn(kernel: Any, device: torch.device, dtype: torch.dtype) -> Iterator[_Case]:
    query, key = (_random((1, heads, 7, 64), device, dtype, heads) for heads in (4, 2))
    angle = torch.arange(7.0)[:, None] * 10000 ** -(torch.arange(32.0) / 32)
    wide = torch.cat((angle, angle), dim=-1)[None].to(device)
    cos, sin = wide.cos(), wide.sin()

    def plain(*states: Tensor) -> Tensor:
        halves = (torch.cat((-x[..., 32:], x[..., :32]), dim=-1) for x in states)
        turned = (x * cos + half * sin for x, half in zip(states, halves, strict=True))
        return torch.cat(list(turned), dim=1)

    yield _Case(
        lambda q, k: torch.cat(kernel(q, k, cos.to(dtype), sin.to(dtype)), dim=1), plain,
        (query, key),
    )  # fmt: skip


def _mixture(kernel: Experts, device: torch.device, dtype: torch.dtype) -> Iterator[_Case]:
    """Three experts of four have tokens."""
    x, weight = _random((6, 32), device, dtype, 0), _random((4, 32, 16), device, dtype, 1)
    share = _random((6, 2), device, dtype, 2)
    chosen = torch.tensor([[0, 3], [3, 1], [0, 1], [1, 3], [3, 0], [1, 0]], device=device)
    counts = (chosen.flatten()[:, None] == torch.arange(4, device=device)).sum(0)

    def fused(x: Tensor, weight: Tensor, share: Tensor) -> Tensor:
        rows, order = kernel.permute(x, chosen)
        return kernel.unpermute(kernel.gate(kernel.product(rows, weight, counts)), order, share)

    def plain(x: Tensor, weight: Tensor, share: Tensor) -> Tensor:
        found = torch.stack([torch.stack([x[t] @ weight[e] for e in chosen[t]]) for t in range(6)])
        inner = F.silu(found[..., :8]) * found[..., 8:]
        return (inner * share[..., None]).sum(1)

    yield _Case(fused, plain, (x, weight, share))


def _sequences(
    kernel: VarlenAttention, device: torch.device, dtype: torch.dtype
) -> Iterator[_Case]:
    """Three sequences, the second of which asks for its last tokens alone."""
    sequences = Sequences((5, 8, 9), (5, 14, 15))
    query = _random((9, 4, 64), device, dtype, 0)
    key, value = (_random((15, 2, 64), device, dtype, seed) for seed in (1, 2))
    for window in (None, 3):
        terms = {"scaling": 0.1, "window": window, "soft_cap": None, "sinks": None, "dropout": 0.0}
        yield _Case(
            lambda q, k, v, terms=terms: kernel.run(q, k, v, sequences, **terms),
            lambda q, k, v, window=window: _plain_attention(q, k, v, sequences, window, None),
            (query, key, value),
        )
    if kernel.sinks:
        sinks = _random((4,), device, torch.float32, 3)
        terms = {"scaling": 0.1, "window": None, "soft_cap": None, "dropout": 0.0}
        yield _Case(
            lambda q, k, v, s: kernel.run(q, k, v, sequences, **terms, sinks=s),
            lambda q, k, v, s: _plain_attention(q, k, v, sequences, None, s),
            (query, key, value, sinks),
        )


def _plain_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    sequences: Sequences,
    window: int | None,
    sinks: Tensor | None,
) -> Tensor:
    repeats = query.shape[1] // key.shape[1]
    outputs = []
    ends = (pairwise((0, *e)) for e in (sequences.query_ends, sequences.key_ends))
    for (a, b), (c, d) in zip(*ends, strict=True):
        q = query[a:b].transpose(0, 1)
        k, v = (x[c:d].repeat_interleave(repeats, 1).transpose(0, 1) for x in (key, value))
        row = torch.arange(d - c - (b - a), d - c, device=query.device)[:, None]
        column = torch.arange(d - c, device=query.device)
        hidden = column > row
        if window is not None:
            hidden = hidden | (column <= row - window)
        scores = (q @ k.transpose(1, 2) * 0.1).masked_fill(hidden, float("-inf"))
        if sinks is not None:
            sink = sinks[:, None, None].expand(-1, b - a, 1)
            scores = torch.cat((scores, sink), dim=-1)
        outputs.append((scores.softmax(-1)[..., : d - c] @ v).transpose(0, 1))
    return torch.cat(outputs)


_CASES: dict[str, Callable[..., Iterator[_Case]]] = {
    "attention": _sequences,
    "rms_norm": _norm,
    "rotary": _turn,
    "swiglu": _gate,
    "experts": _mixture,
}
