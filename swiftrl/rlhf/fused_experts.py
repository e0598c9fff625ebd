"""Mixtures of experts by grouped matrix products of the hardware.

Shapes: T tokens, k experts a token, E experts, D width, I inner width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor

from swiftrl.backends.kernels import Experts
from swiftrl.rlhf.fused_ops import result_dtype
from swiftrl.rlhf.trials import agree, sample

__all__ = ["experts_forward", "with_experts"]


def experts_forward(
    module: Any,
    hidden_states: Tensor,
    top_k_index: Tensor,
    top_k_weights: Tensor,
    *,
    kernels: Experts,
    gate: Callable[[Tensor], Tensor],
) -> Tensor:
    """Run all experts of a layer: y_t = sum over its experts e of w_te down_e(gate(up_e(x_t))).

    Args:
        module: holds `gate_up_proj` and `down_proj`, [E, outputs, inputs] or transposed.
        hidden_states: [T, D].
        top_k_index: [T, k].
        top_k_weights: [T, k].
        kernels: of the hardware.
        gate: from [T k, 2 I] to [T k, I].
    """
    if getattr(module, "_is_expert_parallel", False) or not hidden_states.numel():
        return type(module).forward(module, hidden_states, top_k_index, top_k_weights)
    flat = top_k_index.flatten()
    numbers = torch.arange(module.gate_up_proj.shape[0], device=flat.device)
    counts = (flat[:, None] == numbers).sum(0)
    rows, order = kernels.permute(hidden_states.to(result_dtype(hidden_states)), top_k_index)
    expert = flat.sort().values if hasattr(module, "down_proj_bias") else None
    inner = gate(_layer(module, "gate_up_proj", rows, counts, expert, kernels))
    outer = _layer(module, "down_proj", inner, counts, expert, kernels)
    return kernels.unpermute(outer, order, top_k_weights).to(hidden_states.dtype)


def _layer(
    module: Any, name: str, rows: Tensor, counts: Tensor, expert: Tensor | None, kernels: Experts
) -> Tensor:
    weight = getattr(module, name)
    if not getattr(module, "is_transposed", False):
        weight = weight.transpose(1, 2)
    y = kernels.product(rows, weight, counts)
    return y if expert is None else y + getattr(module, f"{name}_bias").to(y.dtype)[expert]


def with_experts(module: Any, kernels: Experts) -> Callable[..., Tensor] | None:
    """Return `module`'s forward by `kernels`, or None where it is no layer of experts."""
    inward, outward = (getattr(module, name, None) for name in ("gate_up_proj", "down_proj"))
    if not isinstance(inward, Tensor) or not isinstance(outward, Tensor):
        return None
    if inward.dim() != 3 or outward.dim() != 3 or not hasattr(module, "config"):
        return None
    width = outward.shape[2 if getattr(module, "is_transposed", False) else 1]
    number = len(inward)
    top = min(2, number)
    start = torch.arange(6)[:, None] * 3 + torch.arange(top)
    index = (start % number).to(inward.device)
    inputs = (sample(6, width, like=inward), index, sample(6, top, like=inward, seed=1))
    gates: list[Any] = [kernels.gate, getattr(module, "_apply_gate", kernels.gate)]
    for gate in gates:
        candidate = partial(experts_forward, module, kernels=kernels, gate=gate)
        with _plainly(module):
            if agree(module, candidate, *inputs, dtype=inward.dtype):
                return candidate
    return None


@contextmanager
def _plainly(module: Any) -> Iterator[None]:
    """Within it, the module's own forward goes through its experts one by one."""
    config = module.config
    before = getattr(config, "_experts_implementation", None)
    if before is not None:
        config._experts_implementation = "eager"
    try:
        yield
    finally:
        if before is not None:
            config._experts_implementation = before
