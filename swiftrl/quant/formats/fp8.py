"""compressed-tensors "float-quantized": weights as e4m3, inputs rounded to it as they come (FP8).

`weight` [O, I] float8_e4m3fn and `weight_scale` [O, 1]; each token's inputs get a scale of their
own when the layer runs. Read by vLLM, SGLang, and by transformers with the package
compressed-tensors.

Shapes: O outputs, I inputs.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from swiftrl.quant.compressed_config import CompressedTensors, Stored, check_rows
from swiftrl.quant.fp8 import Fp8Weight
from swiftrl.quant.scheme import Scheme

__all__ = ["FORMAT"]

_STORED = Stored("float-quantized", "float", activation_bits=8)


class FloatQuantized(CompressedTensors):
    """Weights as floating point numbers of a byte."""

    stored = _STORED

    def check(self, scheme: Scheme) -> None:
        """Refuse all but one scale a row of 8 bits."""
        check_rows("fp8", scheme)

    def layout(
        self, outputs: int, inputs: int, scheme: Scheme, dtype: torch.dtype
    ) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
        """Return shape and type of a layer's tensors; `dtype` is the scales'."""
        shape = (outputs, inputs)
        return {"weight": (shape, torch.float8_e4m3fn), "weight_scale": ((outputs, 1), dtype)}

    def pack(self, weight: Fp8Weight, scheme: Scheme) -> dict[str, Tensor]:
        """Return a layer's tensors."""
        self.check(scheme)
        return {"weight": weight.values.contiguous(), "weight_scale": weight.scales.contiguous()}

    def unpack(self, tensors: Mapping[str, Tensor], scheme: Scheme) -> Fp8Weight:
        """Return what `pack` was given."""
        return Fp8Weight(tensors["weight"], tensors["weight_scale"])


FORMAT = FloatQuantized()
