"""Computing in float32 with weights kept in 16 bits.

For processors that multiply 16-bit numbers slowly: each frozen layer widens its weights as it
runs, and what flows between the layers is float32, so that nothing is cast to and fro. A weight
costs two bytes as before.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from swiftrl.quant.linear import QuantLinear
from swiftrl.rlhf.fused import linear_forward, restore

__all__ = ["narrow_again", "widen"]

_NARROW = (torch.bfloat16, torch.float16)


def _embedding_forward(module: Any, *args: Any, **kwargs: Any) -> Tensor:
    # Learned positions take a mask, positions and more.
    return type(module).forward(module, *args, **kwargs).float()


def _layer_norm_forward(module: nn.LayerNorm, x: Tensor) -> Tensor:
    weight = None if module.weight is None else module.weight.to(x.dtype)
    bias = None if module.bias is None else module.bias.to(x.dtype)
    return F.layer_norm(x, module.normalized_shape, weight, bias, module.eps)


def widen(model: nn.Module) -> bool:
    """Let `model` compute in float32 without widening its stored weights.

    Fused modules (`swiftrl.rlhf.fused.fuse`) and layers on packed weights follow the type of
    their input and need nothing.

    Args:
        model: on its device, already fused.

    Returns:
        False, with the model as before, if some 16-bit weight belongs to a module of a kind that
        is unknown here.
    """
    module: Any
    for module in model.modules():
        if "forward" in module.__dict__ or not _has_narrow(module):
            continue
        kind = type(module)
        if kind is QuantLinear:
            continue
        if kind is nn.Linear:
            module.forward = partial(linear_forward, module, products=torch.float32)
        elif issubclass(kind, nn.Embedding):
            module.forward = partial(_embedding_forward, module)
        elif kind is nn.LayerNorm:
            module.forward = partial(_layer_norm_forward, module)
        else:
            narrow_again(model)
            return False
    return True


def narrow_again(model: nn.Module) -> None:
    """Undo `widen`."""
    restore(model, (linear_forward, _embedding_forward, _layer_norm_forward))


def _has_narrow(module: nn.Module) -> bool:
    return any(parameter.dtype in _NARROW for parameter in module.parameters(recurse=False))
