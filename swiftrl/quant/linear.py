"""A frozen linear layer whose weight stays packed: it is unpacked for one product at a time.

Shapes: O outputs, I inputs.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import partial
from typing import Any, Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from swiftrl.quant.format import Format
from swiftrl.quant.scheme import Scheme

__all__ = ["Packed", "QuantLinear", "Reader", "of_format"]


class Reader(Protocol):
    """Turns a layer's tensors into its weight [O, I]."""

    def __call__(self, tensors: Mapping[str, Tensor], /, *, dtype: torch.dtype) -> Tensor:
        """Return the weight in `dtype`."""
        ...


class QuantLinear(nn.Linear):
    """x W^T + b with W packed and frozen.

    The packed tensors are parameters without gradient under the names that files give them. W
    exists during a product and no longer: the backward pass unpacks it again.

    Attributes:
        packed_names: of the packed tensors.
        read: unpacks them.
        dtype: of `weight`: the model's, where the layer is a part of one.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        layout: Mapping[str, tuple[tuple[int, ...], torch.dtype]],
        read: Reader,
        *,
        bias: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        """Make a layer without values.

        Args:
            inputs: I.
            outputs: O.
            layout: shape and type of the packed tensors by name.
            read: unpacks them.
            bias: its type; None for none.
            device: of the tensors.
        """
        nn.Module.__init__(self)  # a linear layer's own would make a weight
        self.in_features, self.out_features = inputs, outputs
        self.packed_names, self.read = tuple(layout), read
        for name, (shape, dtype) in layout.items():
            values = torch.empty(shape, dtype=dtype, device=device)
            self.register_parameter(name, nn.Parameter(values, requires_grad=False))
        given = None if bias is None else torch.empty(outputs, dtype=bias, device=device)
        self.bias = None if given is None else nn.Parameter(given, requires_grad=False)
        floating = [dtype for _, dtype in layout.values() if dtype.is_floating_point]
        self.dtype = floating[0] if floating else torch.float32

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        """The weight, unpacked anew at every look: do not write to it, nor read it in a loop."""
        return self.unpacked(self.dtype)

    def packed(self) -> dict[str, Tensor]:
        """Return the packed tensors."""
        return {name: getattr(self, name) for name in self.packed_names}

    @torch.no_grad()
    def unpacked(self, dtype: torch.dtype) -> Tensor:
        """Return the weight [O, I]."""
        return self.read(self.packed(), dtype=dtype)

    def forward(self, input: Tensor) -> Tensor:
        """Return x W^T + b in the type a linear layer would: autocast's, or x's."""
        return cast(Tensor, _Product.apply(input, self.bias, self))

    def extra_repr(self) -> str:
        """Say what is packed."""
        tensors = ", ".join(f"{name}={list(t.shape)}" for name, t in self.packed().items())
        return f"{self.in_features}, {self.out_features}, bias={self.bias is not None}, {tensors}"


class Packed:
    """A layer's weight where fused operations expect a tensor: `.to(dtype)` unpacks it.

    The layer's tensors are looked up when they are needed: sharded ones are gathered by then.
    """

    requires_grad = False

    def __init__(self, layer: QuantLinear) -> None:
        """Take the weight of `layer`."""
        self.layer = layer

    def __len__(self) -> int:
        """Return O."""
        return self.layer.out_features

    def to(self, dtype: torch.dtype) -> Tensor:
        """Return the weight [O, I]."""
        return self.layer.unpacked(dtype)


def of_format(
    form: Format,
    scheme: Scheme,
    inputs: int,
    outputs: int,
    *,
    scales: torch.dtype,
    bias: torch.dtype | None = None,
    device: torch.device | str | None = None,
    absent: Collection[str] = (),
) -> QuantLinear:
    """Return a layer without values whose tensors are those of a file's format.

    Args:
        form: the format.
        scheme: of the layer.
        inputs: I.
        outputs: O.
        scales: their type.
        bias: its type; None for none.
        device: of the tensors.
        absent: tensors of the format that the file does not have.

    Raises:
        ConfigError: the format cannot hold such a layer.
    """
    layout = form.layout(outputs, inputs, scheme, scales)
    layout = {name: layout[name] for name in layout if name not in absent}
    read = cast(Reader, partial(form.dequantise, scheme=scheme))
    return QuantLinear(inputs, outputs, layout, read, bias=bias, device=device)


class _Product(torch.autograd.Function):
    """x W^T + b; of W nothing is kept but the layer that holds it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor | None, layer: QuantLinear) -> Tensor:
        device = x.device.type
        autocast = torch.is_autocast_enabled(device)
        dtype = torch.get_autocast_dtype(device) if autocast else x.dtype
        with torch.autocast(device, enabled=False):
            wide_bias = None if bias is None else bias.to(dtype)
            y = F.linear(x.to(dtype), layer.unpacked(dtype), wide_bias)
        ctx.layer, ctx.types = layer, (x.dtype, None if bias is None else bias.dtype)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (g,) = gradients
        of_x, of_bias = ctx.types
        d_x = d_bias = None
        if ctx.needs_input_grad[0]:
            d_x = (g @ ctx.layer.unpacked(g.dtype)).to(of_x)
        if ctx.needs_input_grad[1]:
            d_bias = g.reshape(-1, g.shape[-1]).sum(0).to(of_bias)
        return d_x, d_bias, None
