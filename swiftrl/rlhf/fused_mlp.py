"""A gated MLP whose three layers are frozen and carry LoRA, as one operation.

    y = down(f(gate(x)) * up(x)),  each layer z -> z W^T + b + s z A^T B^T.

Shapes: T tokens, D width, I inner width, R rank.

Of the [T, I] values only gate(x) and up(x) are kept; the others exist for a slice of the tokens at
a time. The two updates of x are multiplied together.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from swiftrl.backends.products import row_slices
from swiftrl.quant.linear import Packed
from swiftrl.rlhf.fused_ops import ACTIVATIONS, autocast_off, result_dtype

__all__ = ["Lora", "lora_mlp"]


@dataclass(frozen=True, slots=True)
class Lora:
    """A frozen linear layer and its low-rank update.

    Attributes:
        weight: [E, D], possibly packed, bias: [E] or None, frozen.
        a: [R, D], b: [E, R], trained.
        scaling: factor on the update.
        dropout: probability of dropping an input of the update.
    """

    weight: Tensor | Packed
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
        """Return the gradient by B^T, [R, E]; in this order CPUs are faster."""
        return (t.t() @ g).mul_(self.scaling)


def _unpacked(layers: Any, products: torch.dtype, slices: int) -> Any:
    """Return layers whose weights several slices of the tokens would unpack again and again."""
    if slices < 2:
        return layers
    return tuple(
        replace(layer, weight=layer.weight.to(products))
        if isinstance(layer.weight, Packed)
        else layer
        for layer in layers
    )


class _LoraMlp(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, activation: int, products: torch.dtype, layers: Any, *_: Tensor
    ) -> Tensor:
        result = result_dtype(x)
        ctx.settings = activation, products, layers
        flat = x.reshape(-1, x.shape[-1])
        slices = list(row_slices(x.device, len(flat), len(layers[0].weight)))
        layers = gate_layer, up_layer, down_layer = _unpacked(layers, products, len(slices))
        gates, ups = (
            flat.new_empty(len(flat), len(layer.weight), dtype=result) for layer in layers[:2]
        )
        y = torch.empty_like(flat, dtype=result)
        updates = []
        with autocast_off(x.device):
            a = torch.cat([gate_layer.a, up_layer.a]).to(products)
            for rows in slices:
                wide = flat[rows].to(products)
                t_gate, t_up = (wide @ a.t()).split([len(gate_layer.a), len(up_layer.a)], dim=1)
                gate, up = gate_layer.apply(wide, t_gate), up_layer.apply(wide, t_up)
                gates[rows], ups[rows] = gate, up
                inner = ACTIVATIONS[activation].value(gate).mul_(up)
                t_down = inner @ down_layer.a.to(products).t()
                y[rows] = down_layer.apply(inner, t_down)
                updates.append((t_gate, t_up, t_down))
        ctx.save_for_backward(x, gates, ups, *(torch.cat(t) for t in zip(*updates, strict=True)))
        return y.view(x.shape)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, gates, ups, *updates = ctx.saved_tensors
        activation, products, layers = ctx.settings
        flat, upstream = (states.reshape(-1, x.shape[-1]) for states in (x, gradients[0]))
        d_x = torch.empty_like(flat) if ctx.needs_input_grad[0] else None
        sums: list[Tensor] = []
        slices = list(row_slices(x.device, *gates.shape))
        layers = _unpacked(layers, products, len(slices))
        for rows in slices:
            wide, g, gate, up = (s[rows].to(products) for s in (flat, upstream, gates, ups))
            of_rows = [t[rows] for t in updates]
            found, part = _backward(
                wide, g, gate, up, of_rows, layers, activation, wants_x=d_x is not None
            )
            if d_x is not None and found is not None:
                d_x[rows] = found
            # Sums of several slices are not rounded between them.
            sums = [s.float().add_(p) for s, p in zip(sums, part, strict=True)] if sums else part
        d_a, d_a_down, *d_b = sums
        d_a_gate, d_a_up = d_a.split([len(layers[0].a), len(layers[1].a)])
        by_layer = zip((d_a_gate, d_a_up, d_a_down), d_b, layers, strict=True)
        d_trained = (
            d.to(p.dtype)
            for d_a, d_b, layer in by_layer
            for d, p in ((d_a, layer.a), (d_b.t(), layer.b))
        )
        return None if d_x is None else d_x.view(x.shape), None, None, None, *d_trained


def _backward(
    x: Tensor,
    g: Tensor,
    gate: Tensor,
    up: Tensor,
    updates: list[Tensor],
    layers: Any,
    activation: int,
    *,
    wants_x: bool,
) -> tuple[Tensor | None, list[Tensor]]:
    """Return the gradient by x (if wanted), and those by A (gate and up, down) and B^T (all)."""
    gate_layer, up_layer, down_layer = layers
    t_gate, t_up, t_down = updates
    d_t = down_layer.d_t(g)
    d_inner = (g @ down_layer.weight.to(g.dtype)).addmm_(d_t, down_layer.a.to(g.dtype))
    activated = ACTIVATIONS[activation].value(gate)
    d_up = d_inner * activated
    d_a_down = d_t.t() @ activated.mul_(up)
    d_gate = ACTIVATIONS[activation].slope_(d_inner.mul_(up), gate)
    d_b = [gate_layer.d_b(d_gate, t_gate), up_layer.d_b(d_up, t_up), down_layer.d_b(g, t_down)]
    d_t = torch.cat([gate_layer.d_t(d_gate), up_layer.d_t(d_up)], dim=1)
    d_x = None
    if wants_x:
        a = torch.cat([gate_layer.a, up_layer.a]).to(g.dtype)
        d_x = d_gate @ gate_layer.weight.to(g.dtype)
        d_x.addmm_(d_up, up_layer.weight.to(g.dtype)).addmm_(d_t, a)
    return d_x, [d_t.t() @ x, d_a_down, *d_b]


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
