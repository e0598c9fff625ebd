"""A gated MLP whose three layers are frozen and carry LoRA, as one operation.

    y = down(f(gate(x)) * up(x)),  each layer z -> z W^T + b + s z A^T B^T.

Shapes: T tokens, D width, I inner width, R rank.

Of the [T, I] values only gate(x) and up(x) are kept; the two updates of x are multiplied together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from swiftrl.rlhf.fused_ops import ACTIVATIONS, autocast_off, result_dtype

__all__ = ["Lora", "lora_mlp"]


@dataclass(frozen=True, slots=True)
class Lora:
    """A frozen linear layer and its low-rank update.

    Attributes:
        weight: [E, D], bias: [E] or None, frozen.
        a: [R, D], b: [E, R], trained.
        scaling: factor on the update.
        dropout: probability of dropping an input of the update.
    """

    weight: Tensor
    bias: Tensor | None
    a: Tensor
    b: Tensor
    scaling: float
    dropout: float = 0.0

    def apply(self, x: Tensor, t: Tensor) -> Tensor:
        """Return x W^T + b + s t B^T for t = x A^T."""
        bias = None if self.bias is None else self.bias.to(x.dtype)
        y = F.linear(x, self.weight.to(x.dtype), bias)
        return y.addmm_(t, self.b.to(x.dtype).t(), alpha=self.scaling)

    def d_t(self, g: Tensor) -> Tensor:
        """Return the gradient by t, given the one by the output."""
        return (g @ self.b.to(g.dtype)).mul_(self.scaling)

    def d_b(self, g: Tensor, t: Tensor) -> Tensor:
        """Return the gradient by B. The factor with R rows goes first: CPUs are faster so."""
        return (t.t() @ g).t().to(self.b.dtype).mul_(self.scaling)


class _LoraMlp(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, activation: int, products: torch.dtype, layers: Any, *_: Tensor
    ) -> Tensor:
        result = result_dtype(x)
        gate_layer, up_layer, down_layer = layers
        with autocast_off(x.device):
            wide = x.reshape(-1, x.shape[-1]).to(products)
            a = torch.cat([gate_layer.a, up_layer.a]).to(products)
            t_gate, t_up = (wide @ a.t()).split([len(gate_layer.a), len(up_layer.a)], dim=1)
            gate, up = gate_layer.apply(wide, t_gate), up_layer.apply(wide, t_up)
            inner = ACTIVATIONS[activation].value(gate).mul_(up)
            t_down = inner @ down_layer.a.to(products).t()
            y = down_layer.apply(inner, t_down)
        ctx.save_for_backward(x, gate.to(result), up.to(result), t_gate, t_up, t_down)
        ctx.settings = activation, products, layers
        return y.to(result).view(x.shape)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, gate, up, t_gate, t_up, t_down = ctx.saved_tensors
        activation, products, (gate_layer, up_layer, down_layer) = ctx.settings
        g = gradients[0].reshape(-1, gradients[0].shape[-1]).to(products)
        gate, up = gate.to(products), up.to(products)
        d_t = down_layer.d_t(g)
        d_inner = (g @ down_layer.weight.to(products)).addmm_(d_t, down_layer.a.to(products))
        activated = ACTIVATIONS[activation].value(gate)
        d_up = d_inner * activated
        d_a_down = d_t.t() @ activated.mul_(up)
        d_gate = ACTIVATIONS[activation].slope_(d_inner.mul_(up), gate)
        d_b = (gate_layer.d_b(d_gate, t_gate), up_layer.d_b(d_up, t_up), down_layer.d_b(g, t_down))
        d_t = torch.cat([gate_layer.d_t(d_gate), up_layer.d_t(d_up)], dim=1)
        d_a = d_t.t() @ x.reshape(-1, x.shape[-1]).to(products)
        d_x = None
        if ctx.needs_input_grad[0]:
            a = torch.cat([gate_layer.a, up_layer.a]).to(products)
            d_x = d_gate @ gate_layer.weight.to(products)
            d_x.addmm_(d_up, up_layer.weight.to(products)).addmm_(d_t, a)
            d_x = d_x.to(x.dtype).view(x.shape)
        d_a_gate, d_a_up = d_a.split([len(gate_layer.a), len(up_layer.a)])
        d_abs = (d_a_gate, d_b[0], d_a_up, d_b[1], d_a_down, d_b[2])
        trained = (p for layer in ctx.settings[2] for p in (layer.a, layer.b))
        cast_back = (d.to(p.dtype) for d, p in zip(d_abs, trained, strict=True))
        return d_x, None, None, None, *cast_back


def lora_mlp(
    x: Tensor, gate: Lora, up: Lora, down: Lora, *, activation: int, products: torch.dtype
) -> Tensor:
    """Run a gated MLP with LoRA; dropout must be off.

    Args:
        x: [..., D].
        gate: to [..., I]; its output goes through the activation.
        up: to [..., I].
        down: back to [..., D].
        activation: index into `ACTIVATIONS`.
        products: type of the matrix products.
    """
    layers = (gate, up, down)
    trained = [p for layer in layers for p in (layer.a, layer.b)]
    return cast(Tensor, _LoraMlp.apply(x, activation, products, layers, *trained))
