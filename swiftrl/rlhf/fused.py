"""Chains of small operations as single ones: the same values, fewer passes over memory.

`fuse` gives modules of a model a faster `forward` of the same value. Modules are recognised by
what they hold and by trying the replacement against the original, not by their class, so that
every family profits. Parameters, buffers and names stay as they are: checkpoints, PEFT's switches
and `unfuse` work as before.

Shapes: T tokens, D inputs, E outputs, R rank.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["fuse", "gated", "linear_forward", "lora_linear", "restore", "rms_norm", "unfuse"]


def _autocast_off(device: torch.device) -> Any:
    return torch.autocast(device.type, enabled=False)


def _result_dtype(x: Tensor) -> torch.dtype:
    """Type a linear layer returns for `x` here and now."""
    if torch.is_autocast_enabled(x.device.type):
        return torch.get_autocast_dtype(x.device.type)
    return x.dtype


class _FrozenLinear(torch.autograd.Function):
    """x W^T + b with products in another type than x's; W and b have no gradient."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, products: torch.dtype
    ) -> Tensor:
        result = _result_dtype(x)
        with _autocast_off(x.device):
            wide_bias = None if bias is None else bias.to(products)
            y = F.linear(x.to(products), weight.to(products), wide_bias)
        ctx.save_for_backward(weight)
        ctx.dtypes = x.dtype, products
        return y.to(result)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (weight,) = ctx.saved_tensors
        dtype, products = ctx.dtypes
        return (gradients[0].to(products) @ weight.to(products)).to(dtype), None, None, None


class _LoraLinear(torch.autograd.Function):
    """y = x W^T + b + s (x . m) A^T B^T with W and b frozen (Hu et al. 2021, arXiv:2106.09685).

    m [T, D] is the dropout mask, scaled; x is kept once and the products' casts not at all.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        a: Tensor,
        b: Tensor,
        scaling: float,
        mask: Tensor | None,
        products: torch.dtype,
    ) -> Tensor:
        result = _result_dtype(x)
        with _autocast_off(x.device):
            wide = x.reshape(-1, x.shape[-1]).to(products)
            wide_bias = None if bias is None else bias.to(products)
            y = F.linear(wide, weight.to(products), wide_bias)
            dropped = wide if mask is None else wide * mask
            t = dropped @ a.to(products).t()
            y.addmm_(t, b.to(products).t(), alpha=scaling)
        ctx.save_for_backward(x, weight, a, b, t, mask)
        ctx.settings = scaling, products
        return y.to(result).view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, a, b, t, mask = ctx.saved_tensors
        scaling, products = ctx.settings
        g = gradients[0].reshape(-1, gradients[0].shape[-1]).to(products)
        wide_a = a.to(products)
        d_t = (g @ b.to(products)).mul_(scaling)
        d_x = d_a = d_b = None
        if ctx.needs_input_grad[4]:
            # The factor with R rows first: the other way round is three times slower on CPUs.
            d_b = (t.t() @ g).t().to(b.dtype).mul_(scaling)
        if ctx.needs_input_grad[3]:
            wide = x.reshape(-1, x.shape[-1]).to(products)
            d_a = (d_t.t() @ (wide if mask is None else wide * mask)).to(a.dtype)
        if ctx.needs_input_grad[0]:
            wide_x = g @ weight.to(products)
            if mask is None:
                wide_x.addmm_(d_t, wide_a)
            else:
                wide_x.add_((d_t @ wide_a).mul_(mask))
            d_x = wide_x.to(x.dtype).view(x.shape)
        return d_x, None, None, d_a, d_b, None, None, None


def lora_linear(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    a: Tensor,
    b: Tensor,
    *,
    scaling: float,
    dropout: float = 0.0,
    products: torch.dtype | None = None,
) -> Tensor:
    """A frozen linear layer with a low-rank update, as one operation.

    Args:
        x: [..., D].
        weight: [E, D], frozen.
        bias: [E], frozen.
        a: [R, D].
        b: [E, R].
        scaling: factor on the update.
        dropout: probability of dropping an input of the update.
        products: type of the matrix products; unset, the result's.

    Returns:
        [..., E] in the type a linear layer would return.
    """
    mask = None
    if dropout > 0:
        kept = torch.empty(x.numel() // x.shape[-1], x.shape[-1], dtype=x.dtype, device=x.device)
        mask = kept.bernoulli_(1 - dropout).div_(1 - dropout)
    products = products or _result_dtype(x)
    return cast(Tensor, _LoraLinear.apply(x, weight, bias, a, b, float(scaling), mask, products))


class _RMSNorm(torch.autograd.Function):
    """x / sqrt(mean(x^2) + eps) * (w + offset), computed in float32 (arXiv:1910.07467)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float, offset: float) -> Tensor:
        wide = x.float() if x.dtype != torch.float64 else x
        length = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
        scale = length.square_().div_(x.shape[-1]).add_(eps).rsqrt_()
        ctx.save_for_backward(x, weight, scale)
        ctx.offset = offset
        return (wide * scale).mul_(weight.to(wide.dtype) + offset).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, scale = ctx.saved_tensors
        g, wide = gradients[0].to(scale.dtype), x.to(scale.dtype)
        d_weight = None
        if ctx.needs_input_grad[1]:
            d_weight = (g * wide).mul_(scale).flatten(0, -2).sum(0).to(weight.dtype)
        d_x = None
        if ctx.needs_input_grad[0]:
            g = g * (weight.to(scale.dtype) + ctx.offset)
            along = (g * wide).sum(-1, keepdim=True)
            along.mul_(scale.pow(3)).div_(x.shape[-1])
            d_x = g.mul_(scale).addcmul_(wide, along, value=-1).to(x.dtype)
        return d_x, d_weight, None, None


def rms_norm(x: Tensor, weight: Tensor, *, eps: float, offset: float = 0.0) -> Tensor:
    """Root-mean-square norm over the last dimension, as one operation.

    Deviation: the gain is applied before rounding to x's type; some families round before.

    Args:
        x: [..., D].
        weight: [D].
        eps: added to the mean square.
        offset: added to the weight (1 for Gemma).
    """
    return cast(Tensor, _RMSNorm.apply(x, weight, eps, offset))


def _silu_slope_(g: Tensor, x: Tensor) -> Tensor:
    return torch.ops.aten.silu_backward.grad_input(g, x, grad_input=g)


def _gelu_tanh(x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh")


def _gelu_tanh_slope_(g: Tensor, x: Tensor) -> Tensor:
    return torch.ops.aten.gelu_backward.grad_input(g, x, approximate="tanh", grad_input=g)


@dataclass(frozen=True, slots=True)
class _Activation:
    """f, and g f'(x) computed in g's place."""

    value: Callable[[Tensor], Tensor]
    slope_: Callable[[Tensor, Tensor], Tensor]


_ACTIVATIONS = (_Activation(F.silu, _silu_slope_), _Activation(_gelu_tanh, _gelu_tanh_slope_))


class _Gated(torch.autograd.Function):
    """f(gate) * up, keeping gate and up alone."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor, activation: int) -> Tensor:
        ctx.save_for_backward(gate, up)
        ctx.activation = activation
        return _ACTIVATIONS[activation].value(gate).mul_(up)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        gate, up = ctx.saved_tensors
        activation = _ACTIVATIONS[ctx.activation]
        d_up = activation.value(gate).mul_(gradients[0])
        return activation.slope_(gradients[0] * up, gate), d_up, None


def gated(gate: Tensor, up: Tensor, activation: int = 0) -> Tensor:
    """f(gate) * up for activation 0 (SiLU) or 1 (GELU by tanh), as one operation."""
    return cast(Tensor, _Gated.apply(gate, up, activation))


def linear_forward(module: nn.Linear, x: Tensor, *, products: torch.dtype) -> Tensor:
    """Run a linear layer; if it is frozen, with products in another type than the result's."""
    trained = module.weight.requires_grad or (module.bias is not None and module.bias.requires_grad)
    if trained or products == _result_dtype(x) == module.weight.dtype:
        return F.linear(x, module.weight, module.bias)
    return cast(Tensor, _FrozenLinear.apply(x, module.weight, module.bias, products))


def _lora_forward(
    module: Any, x: Tensor, *args: Any, products: torch.dtype, **kwargs: Any
) -> Tensor:
    base = module.base_layer
    active = [name for name in module.active_adapters if name in module.lora_A]
    if not (args or kwargs) and not module.merged:
        if module.disable_adapters or not active:
            return linear_forward(base, x, products=products)
        (name, *more) = active
        plain = name not in module.lora_variant and not module.lora_bias[name]
        if not more and plain and not base.weight.requires_grad:
            dropout = module.lora_dropout[name]
            return lora_linear(
                x,
                base.weight,
                base.bias,
                module.lora_A[name].weight,
                module.lora_B[name].weight,
                scaling=module.scaling[name],
                dropout=dropout.p if isinstance(dropout, nn.Dropout) and dropout.training else 0.0,
                products=products,
            )
    return type(module).forward(module, x, *args, **kwargs)


def _norm_forward(module: Any, x: Tensor, *, eps: float, offset: float) -> Tensor:
    return rms_norm(x, module.weight, eps=eps, offset=offset)


def _mlp_forward(module: Any, x: Tensor, *, activation: int) -> Tensor:
    return module.down_proj(gated(module.gate_proj(x), module.up_proj(x), activation))


def _is_plain_linear(module: Any) -> bool:
    return type(module) is nn.Linear and "forward" not in module.__dict__


def _fused_lora(module: nn.Module, products: torch.dtype) -> Callable[..., Tensor] | None:
    wanted = ("base_layer", "lora_A", "lora_B", "lora_variant", "lora_bias", "active_adapters")
    if not all(hasattr(module, name) for name in wanted):
        return None
    if not _is_plain_linear(module.base_layer):
        return None
    return partial(_lora_forward, module, products=products)


def _fused_norm(module: Any) -> Callable[..., Tensor] | None:
    weight = getattr(module, "weight", None)
    eps = getattr(module, "variance_epsilon", getattr(module, "eps", None))
    named = "RMSNorm" in type(module).__name__
    if not named or not isinstance(weight, Tensor) or weight.dim() != 1 or eps is None:
        return None
    for offset in (0.0, 1.0):
        candidate = partial(_norm_forward, module, eps=float(eps), offset=offset)
        if _agree(module, candidate, len(weight), weight):
            return candidate
    return None


def _fused_mlp(module: Any) -> Callable[..., Tensor] | None:
    parts = [getattr(module, name, None) for name in ("gate_proj", "up_proj", "down_proj")]
    if not all(isinstance(part, nn.Module) for part in parts) or not hasattr(module, "act_fn"):
        return None
    inputs = getattr(parts[0], "in_features", None)
    weight = next(module.parameters(), None)
    if inputs is None or weight is None:
        return None
    for activation in range(len(_ACTIVATIONS)):
        candidate = partial(_mlp_forward, module, activation=activation)
        if _agree(module, candidate, inputs, weight):
            return candidate
    return None


def _agree(module: nn.Module, candidate: Callable[..., Tensor], width: int, like: Tensor) -> bool:
    """Whether a replacement gives the module's values, to rounding."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 5, width, generator=generator).to(like.device, like.dtype)
    training = module.training
    module.eval()
    try:
        with torch.no_grad():
            expected, found = module(x), candidate(x)
    finally:
        module.train(training)
    if not isinstance(expected, Tensor) or expected.shape != found.shape:
        return False
    tolerance = 1e-5 if like.dtype == torch.float32 else 3e-2
    error = (found.float() - expected.float()).square().mean().sqrt()
    return bool(error <= tolerance * expected.float().square().mean().sqrt())


def fuse(model: nn.Module, products: torch.dtype) -> int:
    """Replace the forwards of a model's modules by fused ones of the same value.

    Args:
        model: adapters included.
        products: type of the matrix products of frozen layers.

    Returns:
        how many modules were changed.
    """
    changed = 0
    modules = [m for m in model.modules() if "forward" not in m.__dict__]
    for find in (lambda m: _fused_lora(m, products), _fused_norm, _fused_mlp):
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
    restore(model, (_lora_forward, _norm_forward, _mlp_forward))
