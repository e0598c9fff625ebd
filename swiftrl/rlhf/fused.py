"""Modules of a model get faster forwards of the same value.

Modules are recognised by what they hold and by trying the replacement against the original, not
by their class, so that every family profits. Parameters, buffers and names stay as they are:
checkpoints, PEFT's switches and `unfuse` work as before.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from swiftrl.backends.kernels import NONE, Kernels
from swiftrl.backends.products import row_slices
from swiftrl.quant.linear import Packed, QuantLinear
from swiftrl.rlhf.fused_attention import rotary_forward, with_rotary
from swiftrl.rlhf.fused_experts import experts_forward, with_experts
from swiftrl.rlhf.fused_mlp import Lora, lora_mlp
from swiftrl.rlhf.fused_ops import (
    ACTIVATIONS,
    frozen_linear,
    gated,
    lora_linear,
    result_dtype,
    rms_norm,
)
from swiftrl.rlhf.trials import agree, sample

__all__ = ["fuse", "linear_forward", "restore", "unfuse"]


RmsNorm = Callable[[Tensor, Tensor, float], Tensor]
Swiglu = Callable[[Tensor, Tensor], Tensor]


def linear_forward(module: nn.Linear, x: Tensor, *, products: torch.dtype) -> Tensor:
    """Run a linear layer; if it is frozen, with products in another type than the result's."""
    if isinstance(module, QuantLinear):
        biased = module.bias is not None and module.bias.requires_grad
        if biased or products == result_dtype(x):
            return QuantLinear.forward(module, x)
        return frozen_linear(x, Packed(module), module.bias, products)
    trained = module.weight.requires_grad or (module.bias is not None and module.bias.requires_grad)
    if trained or products == result_dtype(x) == module.weight.dtype:
        return F.linear(x, module.weight, module.bias)
    return frozen_linear(x, module.weight, module.bias, products)


def _is_off(module: Any) -> bool:
    """Whether a LoRA layer is its base layer for now."""
    active = any(name in module.lora_A for name in module.active_adapters)
    return not module.merged and (module.disable_adapters or not active)


def _plain_lora(module: Any) -> Lora | None:
    """Return a LoRA layer's parts if it is on and of the plain kind."""
    active = [name for name in module.active_adapters if name in module.lora_A]
    base = module.base_layer
    weight = Packed(base) if isinstance(base, QuantLinear) else base.weight
    trains = weight.requires_grad or (base.bias is not None and base.bias.requires_grad)
    if module.merged or module.disable_adapters or len(active) != 1 or trains:
        return None
    (name,) = active
    if name in module.lora_variant or module.lora_bias[name]:
        return None
    dropout = module.lora_dropout[name]
    return Lora(
        weight,
        base.bias,
        module.lora_A[name].weight,
        module.lora_B[name].weight,
        float(module.scaling[name]),
        dropout.p if isinstance(dropout, nn.Dropout) and dropout.training else 0.0,
    )


def _lora_forward(
    module: Any, x: Tensor, *args: Any, products: torch.dtype, **kwargs: Any
) -> Tensor:
    if not args and not kwargs:
        if _is_off(module):
            return linear_forward(module.base_layer, x, products=products)
        lora = _plain_lora(module)
        if lora is not None:
            return lora_linear(
                x,
                lora.weight,
                lora.bias,
                lora.a,
                lora.b,
                scaling=lora.scaling,
                dropout=lora.dropout,
                products=products,
            )
    return type(module).forward(module, x, *args, **kwargs)


def _norm_forward(
    module: Any,
    x: Tensor,
    *args: Any,
    eps: float,
    offset: float,
    kernel: RmsNorm | None = None,
    **kwargs: Any,
) -> Tensor:
    if args or kwargs:  # a gate, say
        return type(module).forward(module, x, *args, **kwargs)
    if kernel is None or not x.numel():
        return rms_norm(x, module.weight, eps=eps, offset=offset)
    return kernel(x, module.weight + offset if offset else module.weight, eps)


def _mlp_forward(
    module: Any,
    x: Tensor,
    *,
    activation: int,
    products: torch.dtype,
    kernel: Swiglu | None = None,
) -> Tensor:
    parts = (module.gate_proj, module.up_proj, module.down_proj)
    sliced = not torch.is_grad_enabled() and kernel is None
    # A packed weight would be unpacked for every slice.
    if sliced and not any(isinstance(_base(part), QuantLinear) for part in parts):
        return _mlp_by_slices(module, x, ACTIVATIONS[activation].value_)
    if all(map(_is_fused_lora, parts)) and torch.is_grad_enabled():
        loras = [_plain_lora(part) for part in parts]
        gate, up, down = loras
        if gate and up and down and not (gate.dropout or up.dropout or down.dropout):
            return lora_mlp(x, gate, up, down, activation=activation, products=products)
    multiplied = (
        kernel if kernel is not None and x.numel() else partial(gated, activation=activation)
    )
    return module.down_proj(multiplied(module.gate_proj(x), module.up_proj(x)))


def _joint_mlp_forward(module: Any, x: Tensor, *, gate: Callable[[Tensor], Tensor]) -> Tensor:
    if not x.numel():
        return type(module).forward(module, x)
    return module.down_proj(gate(module.gate_up_proj(x)))


def _mlp_by_slices(module: Any, x: Tensor, activate_: Callable[[Tensor], Tensor]) -> Tensor:
    flat = x.reshape(-1, x.shape[-1])
    outputs = [
        module.down_proj(activate_(module.gate_proj(part)).mul_(module.up_proj(part)))
        for part in map(
            flat.__getitem__, row_slices(x.device, len(flat), module.up_proj.out_features)
        )
    ]
    return (torch.cat(outputs) if len(outputs) > 1 else outputs[0]).view(*x.shape[:-1], -1)


def _base(module: Any) -> Any:
    return getattr(module, "base_layer", module)


def _is_fused_lora(module: nn.Module) -> bool:
    replaced = module.__dict__.get("forward")
    return isinstance(replaced, partial) and replaced.func is _lora_forward


def _is_plain_linear(module: Any) -> bool:
    return type(module) in (nn.Linear, QuantLinear) and "forward" not in module.__dict__


def _example(module: nn.Module, width: int, products: torch.dtype) -> Tensor | None:
    """Return an input [1, 5, width] to try a module out with, as its weights compute."""
    weight = next(module.parameters(), None)
    if weight is None:
        return None
    if any(isinstance(part, QuantLinear) for part in module.modules()):
        weight = weight.new_empty(0, dtype=products)
    return sample(1, 5, width, like=weight)


def _fused_lora(module: nn.Module, products: torch.dtype) -> Callable[..., Tensor] | None:
    wanted = ("base_layer", "lora_A", "lora_B", "lora_variant", "lora_bias", "active_adapters")
    if not all(hasattr(module, name) for name in wanted):
        return None
    if not _is_plain_linear(module.base_layer):
        return None
    return partial(_lora_forward, module, products=products)


def _fused_norm(module: Any, kernel: RmsNorm | None) -> Callable[..., Tensor] | None:
    if "RMSNorm" not in type(module).__name__:
        return None
    weight = getattr(module, "weight", None)
    eps = getattr(module, "variance_epsilon", getattr(module, "eps", None))
    # A buffer of that name need not be what the layer multiplies by.
    if not isinstance(weight, nn.Parameter) or weight.dim() != 1 or eps is None:
        return None
    x = sample(1, 5, len(weight), like=weight)
    for by in dict.fromkeys((kernel, None)):
        for offset in (0.0, 1.0):
            candidate = partial(_norm_forward, module, eps=float(eps), offset=offset, kernel=by)
            if agree(module, candidate, x, dtype=weight.dtype):
                return candidate
    return None


def _fused_mlp(
    module: Any, products: torch.dtype, kernel: Swiglu | None
) -> Callable[..., Tensor] | None:
    parts = [getattr(module, name, None) for name in ("gate_proj", "up_proj", "down_proj")]
    if not all(isinstance(part, nn.Module) for part in parts) or not hasattr(module, "act_fn"):
        return None
    inputs = getattr(parts[0], "in_features", None)
    x = None if inputs is None else _example(module, inputs, products)
    if x is None:
        return None
    for by, activation in dict.fromkeys(
        [(kernel, 0), *((None, i) for i in range(len(ACTIVATIONS)))]
    ):
        candidate = partial(
            _mlp_forward, module, activation=activation, products=products, kernel=by
        )
        if agree(module, candidate, x, dtype=x.dtype):
            return candidate
    return None


def _fused_joint_mlp(
    module: Any, products: torch.dtype, gate: Callable[[Tensor], Tensor]
) -> Callable[..., Tensor] | None:
    parts = [getattr(module, name, None) for name in ("gate_up_proj", "down_proj")]
    inputs = getattr(parts[0], "in_features", None)
    if inputs is None or not isinstance(parts[1], nn.Module):
        return None
    x = _example(module, inputs, products)
    candidate = partial(_joint_mlp_forward, module, gate=gate)
    return candidate if x is not None and agree(module, candidate, x, dtype=x.dtype) else None


def fuse(model: nn.Module, products: torch.dtype, kernels: Kernels = NONE) -> int:
    """Replace the forwards of a model's modules by fused ones of the same value.

    Args:
        model: adapters included.
        products: type of the matrix products of frozen layers.
        kernels: what the hardware has of its own.

    Returns:
        how many modules were changed.
    """
    changed = 0
    modules = [m for m in model.modules() if "forward" not in m.__dict__]
    finders: list[Callable[[nn.Module], Callable[..., Any] | None]] = [
        lambda m: _fused_lora(m, products),
        lambda m: _fused_norm(m, kernels.rms_norm),
        lambda m: _fused_mlp(m, products, kernels.swiglu),
    ]
    if kernels.experts is not None:
        finders.append(partial(with_experts, kernels=kernels.experts))
        finders.append(partial(_fused_joint_mlp, products=products, gate=kernels.experts.gate))
    if kernels.rotary is not None:
        finders.append(partial(with_rotary, rotary=kernels.rotary))
    for find in finders:
        for module in modules:
            replacement = find(module)
            if replacement is not None:
                module.forward = replacement
                changed += 1
    return changed


def restore(model: nn.Module, forwards: tuple[Callable[..., Tensor], ...]) -> None:
    """Give modules their own forward back where one of `forwards` stands in for it."""
    for module in model.modules():
        replaced = module.__dict__.get("forward")
        if isinstance(replaced, partial) and replaced.func in forwards:
            del module.__dict__["forward"]


def unfuse(model: nn.Module) -> None:
    """Undo `fuse`."""
    restore(
        model,
        (
            _lora_forward,
            _norm_forward,
            _mlp_forward,
            _joint_mlp_forward,
            experts_forward,
            rotary_forward,
        ),
    )
