"""Chains of small operations as single ones, with their gradients.

Shapes: T tokens, D inputs, E outputs, R rank.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from swiftrl.quant.linear import Packed

__all__ = [
    "ACTIVATIONS",
    "autocast_off",
    "frozen_linear",
    "gated",
    "lora_linear",
    "result_dtype",
    "rms_norm",
]


def autocast_off(device: torch.device) -> Any:
    """Return a context in which operations keep the types they are given."""
    return torch.autocast(device.type, enabled=False)


def result_dtype(x: Tensor) -> torch.dtype:
    """Type a linear layer returns for `x` here and now."""
    if torch.is_autocast_enabled(x.device.type):
        return torch.get_autocast_dtype(x.device.type)
    return x.dtype


def _keep(ctx: Any, weight: Tensor | Packed, *others: Tensor | None) -> None:
    """Save tensors, the frozen weight first, for the backward pass; packed ones stay packed."""
    ctx.packed = weight if isinstance(weight, Packed) else None
    ctx.save_for_backward(None if isinstance(weight, Packed) else weight, *others)


class _FrozenLinear(torch.autograd.Function):
    """x W^T + b with products in another type than x's; W and b have no gradient."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | Packed, bias: Tensor | None, products: torch.dtype
    ) -> Tensor:
        result = result_dtype(x)
        with autocast_off(x.device):
            wide_bias = None if bias is None else bias.to(products)
            y = F.linear(x.to(products), weight.to(products), wide_bias)
        _keep(ctx, weight)
        ctx.dtypes = x.dtype, products
        return y.to(result)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (plain,) = ctx.saved_tensors
        weight = plain if ctx.packed is None else ctx.packed
        dtype, products = ctx.dtypes
        return (gradients[0].to(products) @ weight.to(products)).to(dtype), None, None, None


def frozen_linear(
    x: Tensor, weight: Tensor | Packed, bias: Tensor | None, products: torch.dtype
) -> Tensor:
    """X W^T + b for W [E, D] and b [E] without gradient, multiplied in the type `products`."""
    return cast(Tensor, _FrozenLinear.apply(x, weight, bias, products))


class _LoraLinear(torch.autograd.Function):
    """y = x W^T + b + s (x . m) A^T B^T with W and b frozen (Hu et al. 2021, arXiv:2106.09685).

    m [T, D] is the dropout mask, scaled; x is kept once and the products' casts not at all.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | Packed,
        bias: Tensor | None,
        a: Tensor,
        b: Tensor,
        scaling: float,
        mask: Tensor | None,
        products: torch.dtype,
    ) -> Tensor:
        result = result_dtype(x)
        with autocast_off(x.device):
            wide = x.reshape(-1, x.shape[-1]).to(products)
            wide_bias = None if bias is None else bias.to(products)
            y = F.linear(wide, weight.to(products), wide_bias)
            dropped = wide if mask is None else wide * mask
            t = dropped @ a.to(products).t()
            y.addmm_(t, b.to(products).t(), alpha=scaling)
        _keep(ctx, weight, x, a, b, t, mask)
        ctx.settings = scaling, products
        # Not a view: a model may add to the result in place, as Llama 4's experts do.
        return y.to(result) if x.dim() == 2 else y.to(result).view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        plain, x, a, b, t, mask = ctx.saved_tensors
        weight = plain if ctx.packed is None else ctx.packed
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
    weight: Tensor | Packed,
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
        weight: [E, D], frozen; a packed one is unpacked for each product.
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
    products = products or result_dtype(x)
    return cast(Tensor, _LoraLinear.apply(x, weight, bias, a, b, float(scaling), mask, products))


class _RMSNorm(torch.autograd.Function):
    """x / sqrt(mean(x^2) + eps) * (w + offset), computed in float32 (arXiv:1910.07467)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float, offset: float) -> Tensor:
        wide = x.to(torch.promote_types(x.dtype, torch.float32), copy=True)
        length = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
        scale = length.square_().div_(x.shape[-1]).add_(eps).rsqrt_()
        ctx.save_for_backward(x, weight, scale)
        ctx.offset = offset
        return wide.mul_(scale).mul_(weight.to(wide.dtype) + offset).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, scale = ctx.saved_tensors
        g, wide = gradients[0].to(scale.dtype, copy=True), x.to(scale.dtype)
        d_weight = None
        if ctx.needs_input_grad[1]:
            d_weight = (g * wide).mul_(scale).flatten(0, -2).sum(0).to(weight.dtype)
        d_x = None
        if ctx.needs_input_grad[0]:
            g.mul_(weight.to(scale.dtype) + ctx.offset)
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


def _silu_(x: Tensor) -> Tensor:
    return F.silu(x, inplace=True)


def _gelu_tanh_(x: Tensor) -> Tensor:
    return torch.ops.aten.gelu_(x, approximate="tanh")


def _gelu_tanh(x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh")


def _gelu_tanh_slope_(g: Tensor, x: Tensor) -> Tensor:
    if g.device.type != "cpu":  # not every accelerator writes it to a given place
        return torch.ops.aten.gelu_backward(g, x, approximate="tanh")
    return torch.ops.aten.gelu_backward.grad_input(g, x, approximate="tanh", grad_input=g)


@dataclass(frozen=True, slots=True)
class _Activation:
    """f, f in its argument's place, and g f'(x) in g's place."""

    value: Callable[[Tensor], Tensor]
    value_: Callable[[Tensor], Tensor]
    slope_: Callable[[Tensor, Tensor], Tensor]


ACTIVATIONS = (
    _Activation(F.silu, _silu_, _silu_slope_),
    _Activation(_gelu_tanh, _gelu_tanh_, _gelu_tanh_slope_),
)


class _Gated(torch.autograd.Function):
    """f(gate) * up, keeping gate and up alone."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor, activation: int) -> Tensor:
        ctx.save_for_backward(gate, up)
        ctx.activation = activation
        return ACTIVATIONS[activation].value(gate).mul_(up)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        gate, up = ctx.saved_tensors
        activation = ACTIVATIONS[ctx.activation]
        d_up = activation.value(gate).mul_(gradients[0])
        return activation.slope_(gradients[0] * up, gate), d_up, None


def gated(gate: Tensor, up: Tensor, activation: int = 0) -> Tensor:
    """f(gate) * up for activation 0 (SiLU) or 1 (GELU by tanh), as one operation."""
    return cast(Tensor, _Gated.apply(gate, up, activation))
