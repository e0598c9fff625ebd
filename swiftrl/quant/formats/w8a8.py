"""compressed-tensors "int-quantized": 8-bit integers, inputs rounded too as they come (W8A8).

`weight` [O, I] int8 and `weight_scale` [O, 1]; there is one scale a row, and each token's inputs
get a scale of their own when the layer runs. Read by vLLM, SGLang, vllm-ascend, and by
transformers with the package compressed-tensors.

Shapes: O outputs, I inputs.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from swiftrl.quant.compressed_config import CompressedTensors, Stored, check_rows
from swiftrl.quant.scheme import QuantWeight, Scheme

__all__ = ["FORMAT"]

_ZERO = 128
_STORED = Stored("int-quantized", "int", activation_bits=8)


class IntQuantized(CompressedTensors):
    """Weights as signed bytes: a code less 128."""

    stored = _STORED

    def check(self, scheme: Scheme) -> None:
        """Refuse all but one scale a row of 8 bits."""
        check_rows("w8a8", scheme)

    def layout(
        self, outputs: int, inputs: int, scheme: Scheme, dtype: torch.dtype
    ) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
        """Return shape and type of a layer's tensors; `dtype` is the scales'."""
        return {"weight": ((outputs, inputs), torch.int8), "weight_scale": ((outputs, 1), dtype)}

    def pack(self, weight: QuantWeight, scheme: Scheme) -> dict[str, Tensor]:
        """Return a layer's tensors.

        Raises:
            ConfigError: another grid than 8 bits with one scale a row, centred on zero.
        """
        self.check(scheme)
        signed = (weight.codes.to(torch.int16) - _ZERO).to(torch.int8)
        return {"weight": signed, "weight_scale": weight.scales.contiguous()}

    def unpack(self, tensors: Mapping[str, Tensor], scheme: Scheme) -> QuantWeight:
        """Return what `pack` was given."""
        codes = (tensors["weight"].to(torch.int16) + _ZERO).to(torch.uint8)
        scales = tensors["weight_scale"]
        return QuantWeight(codes, scales, torch.full_like(scales, _ZERO, dtype=torch.uint8))


FORMAT = IntQuantized()
