"""compressed-tensors "float-quantized": weights as e4m3, inputs rounded to it as they come (FP8).

`weight` [O, I] float8_e4m3fn and `weight_scale` [O, 1]; each token's inputs get a scale of their
own when the layer runs. Read by vLLM, SGLang, and by transformers with the package
compressed-tensors.

Shapes: O outputs, I inputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from swiftrl.core.errors import ConfigError
from swiftrl.quant.compressed_config import Stored, read_config, write_config
from swiftrl.quant.fp8 import Fp8Weight
from swiftrl.quant.scheme import Scheme

__all__ = ["FORMAT"]

_STORED = Stored("float-quantized", "float", activation_bits=8)


class FloatQuantized:
    """Weights as floating point numbers of a byte."""

    def layout(
        self, outputs: int, inputs: int, scheme: Scheme, dtype: torch.dtype
    ) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
        """Return shape and type of a layer's tensors; `dtype` is the scales'."""
        shape = (outputs, inputs)
        return {"weight": (shape, torch.float8_e4m3fn), "weight_scale": ((outputs, 1), dtype)}

    def pack(self, weight: Fp8Weight, scheme: Scheme) -> dict[str, Tensor]:
        """Return a layer's tensors."""
        _check(scheme)
        return {"weight": weight.values.contiguous(), "weight_scale": weight.scales.contiguous()}

    def unpack(self, tensors: Mapping[str, Tensor], scheme: Scheme) -> Fp8Weight:
        """Return what `pack` was given."""
        return Fp8Weight(tensors["weight"], tensors["weight_scale"])

    def dequantise(
        self, tensors: Mapping[str, Tensor], scheme: Scheme, dtype: torch.dtype
    ) -> Tensor:
        """Return the weight [O, I]."""
        return self.unpack(tensors, scheme).dequantise(dtype)

    def to_config(self, scheme: Scheme, skipped: Sequence[str]) -> dict[str, Any]:
        """Return `quantization_config`."""
        _check(scheme)
        return write_config(_STORED, scheme, skipped)

    def from_config(self, config: Mapping[str, Any]) -> Scheme | None:
        """Return the scheme of the weights; None for other methods and kinds.

        Raises:
            ConfigError: scales for blocks or whole layers, or static scales of inputs.
        """
        scheme = read_config(_STORED, config)
        if scheme is not None:
            _check(scheme)
        return scheme


def _check(scheme: Scheme) -> None:
    if (scheme.bits, scheme.group_size, scheme.symmetric) != (8, -1, True):
        raise ConfigError(
            f"the format fp8 holds 8 bits with one scale a row (group_size -1, symmetric); found "
            f"{scheme.bits} bits, {'' if scheme.symmetric else 'not '}symmetric, group_size "
            f"{scheme.group_size}."
        )


FORMAT = FloatQuantized()
