"""compressed-tensors "int-quantized": 8-bit integers, inputs rounded too as they come (W8A8).

`weight` [O, I] int8 and `weight_scale` [O, 1]; there is one scale a row, and each token's inputs
get a scale of their own when the layer runs. Read by vLLM, SGLang, vllm-ascend, and by
transformers with the package compressed-tensors.

Shapes: O outputs, I inputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from swiftrl.core.errors import ConfigError
from swiftrl.quant.compressed_config import Stored, read_config, write_config
from swiftrl.quant.scheme import QuantWeight, Scheme

__all__ = ["FORMAT"]

_ZERO = 128
_STORED = Stored("int-quantized", "int", activation_bits=8)


class IntQuantized:
    """Weights as signed bytes: a code less 128."""

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
        _check(scheme)
        signed = (weight.codes.to(torch.int16) - _ZERO).to(torch.int8)
        return {"weight": signed, "weight_scale": weight.scales.contiguous()}

    def unpack(self, tensors: Mapping[str, Tensor], scheme: Scheme) -> QuantWeight:
        """Return what `pack` was given."""
        codes = (tensors["weight"].to(torch.int16) + _ZERO).to(torch.uint8)
        scales = tensors["weight_scale"]
        return QuantWeight(codes, scales, torch.full_like(scales, _ZERO, dtype=torch.uint8))

    def dequantise(
        self, tensors: Mapping[str, Tensor], scheme: Scheme, dtype: torch.dtype
    ) -> Tensor:
        """Return the weight [O, I]."""
        return (tensors["weight"].float() * tensors["weight_scale"].float()).to(dtype)

    def to_config(self, scheme: Scheme, skipped: Sequence[str]) -> dict[str, Any]:
        """Return `quantization_config`."""
        _check(scheme)
        return write_config(_STORED, scheme, skipped)

    def from_config(self, config: Mapping[str, Any]) -> Scheme | None:
        """Return the scheme of the weights; None for other methods and kinds.

        Raises:
            ConfigError: another grid, or static scales of inputs.
        """
        scheme = read_config(_STORED, config)
        if scheme is not None:
            _check(scheme)
        return scheme


def _check(scheme: Scheme) -> None:
    if (scheme.bits, scheme.group_size, scheme.symmetric) != (8, -1, True):
        raise ConfigError(
            f"the format w8a8 holds 8 bits, symmetric, with one scale a row (group_size -1); found "
            f"{scheme.bits} bits, {'' if scheme.symmetric else 'not '}symmetric, group_size "
            f"{scheme.group_size}."
        )


FORMAT = IntQuantized()
