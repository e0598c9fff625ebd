"""A model on quantised weights turned into a plain one with the weights that these stand for."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from swiftrl.quant.linear import QuantLinear

__all__ = ["dequantise", "plain_linear"]


def dequantise(model: Any) -> int:
    """Replace packed layers by plain ones in the model's type, in place, adapters or not.

    Experts that were taken apart stay so: they are saved under the published names.

    Args:
        model: of transformers.

    Returns:
        how many layers were replaced.
    """
    packed = [(n, m) for n, m in model.named_modules() if isinstance(m, QuantLinear)]
    for name, layer in packed:
        model.set_submodule(name, plain_linear(layer, model.dtype))
    for name in ("hf_quantizer", "quantization_method"):
        if hasattr(model, name):
            delattr(model, name)
    model.is_quantized = False
    for config in (model.config, model.config.get_text_config()):
        if getattr(config, "quantization_config", None) is not None:
            del config.quantization_config
        config._is_quantized = False
    return len(packed)


def plain_linear(layer: QuantLinear, dtype: torch.dtype) -> nn.Linear:
    """Return a frozen layer with the weight unpacked."""
    plain = nn.Linear(layer.in_features, layer.out_features, bias=False, device="meta")
    weight = layer.unpacked(dtype).contiguous()
    plain.weight = nn.Parameter(weight, requires_grad=False)
    plain.register_parameter("bias", layer.bias)
    return plain
