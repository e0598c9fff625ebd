"""compressed-tensors "pack-quantized": integers of 4 or 8 bits, for the weights alone (W4A16).

`weight_packed` [O, I * bits / 32] int32 along the inputs, `weight_scale` [O, G] floating point,
`weight_shape` [2] int64, and without symmetry `weight_zero_point` [O * bits / 32, G] int32. Read
by vLLM, SGLang, vllm-ascend, and by transformers with the package compressed-tensors.

Shapes: O outputs, I inputs, G groups.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from swiftrl.core.errors import ConfigError
from swiftrl.quant.compressed_config import CompressedTensors, Stored
from swiftrl.quant.pack import pack, unpack, words_for
from swiftrl.quant.scheme import QuantWeight, Scheme

__all__ = ["FORMAT"]

_BITS = (4, 8)
_STORED = Stored("pack-quantized", "int")


class PackQuantized(CompressedTensors):
    """Codes along the inputs, as in memory order of the weight."""

    stored = _STORED

    def check(self, scheme: Scheme) -> None:
        """Refuse other than 4 and 8 bits."""
        if scheme.bits not in _BITS:
            raise ConfigError(
                f"compressed-tensors pack-quantized with {scheme.bits} bits; expected 4 or 8."
            )

    def layout(
        self, outputs: int, inputs: int, scheme: Scheme, dtype: torch.dtype
    ) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
        """Return shape and type of a layer's tensors; `dtype` is the scales'."""
        groups = scheme.groups(inputs)
        shapes: dict[str, tuple[tuple[int, ...], torch.dtype]] = {
            "weight_packed": ((outputs, words_for(inputs, scheme.bits)), torch.int32),
            "weight_scale": ((outputs, groups), dtype),
            "weight_shape": ((2,), torch.int64),
        }
        if not scheme.symmetric:
            words = words_for(outputs, scheme.bits)
            shapes["weight_zero_point"] = ((words, groups), torch.int32)
        return shapes

    def pack(self, weight: QuantWeight, scheme: Scheme) -> dict[str, Tensor]:
        """Return a layer's tensors.

        Raises:
            ConfigError: groups that do not lie in order, or codes that do not fill whole words.
        """
        self.check(scheme)
        if weight.group_of is not None:
            raise ConfigError("compressed-tensors holds groups in the order of the inputs.")
        tensors = {
            "weight_packed": pack(weight.codes.t(), scheme.bits).t().contiguous(),
            "weight_scale": weight.scales.contiguous(),
            "weight_shape": torch.tensor(weight.codes.shape, device=weight.codes.device),
        }
        if not scheme.symmetric:
            tensors["weight_zero_point"] = pack(weight.zeros, scheme.bits)
        return tensors

    def unpack(self, tensors: Mapping[str, Tensor], scheme: Scheme) -> QuantWeight:
        """Return what `pack` was given."""
        scales = tensors["weight_scale"]
        zeros = torch.full_like(scales, 2 ** (scheme.bits - 1), dtype=torch.uint8)
        if not scheme.symmetric:
            zeros = unpack(tensors["weight_zero_point"], scheme.bits)
        codes = unpack(tensors["weight_packed"].t(), scheme.bits).t().contiguous()
        return QuantWeight(codes=codes, scales=scales, zeros=zeros)


FORMAT = PackQuantized()
