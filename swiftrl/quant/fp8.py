"""Weights as 8-bit floating point numbers: e4m3 of Micikevicius et al. 2022 (arXiv:2209.05433).

Four bits of exponent and three of mantissa, no infinities, the largest number 448. Every row has
a scale that takes its largest weight there.

Shapes: O outputs, I inputs.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["LARGEST", "Fp8Weight", "round_to_fp8"]

LARGEST = 448.0
"""The largest number of e4m3."""


@dataclass(frozen=True, slots=True)
class Fp8Weight:
    """A weight as values * scales.

    Attributes:
        values: [O, I] float8_e4m3fn.
        scales: [O, 1] floating point.
    """

    values: Tensor
    scales: Tensor

    def dequantise(self, dtype: torch.dtype) -> Tensor:
        """Return the weight [O, I]; products are taken in float32, rounded once."""
        return (self.values.float() * self.scales.float()).to(dtype)


def round_to_fp8(weight_OI: Tensor, scale_dtype: torch.dtype = torch.float32) -> Fp8Weight:
    """Return a weight rounded to the nearest, ties to even mantissas.

    Args:
        weight_OI: [O, I] of any floating point type.
        scale_dtype: of scales in the file; values are rounded for the scale as stored.
    """
    weight = weight_OI.float()
    largest = weight.abs().amax(1, keepdim=True)
    # A row of zeros has any scale; one that underflows would divide by zero.
    scales = torch.where(largest > 0, largest / LARGEST, 1.0)
    scales = scales.clamp(min=torch.finfo(scale_dtype).tiny).to(scale_dtype)
    # A scale that was rounded down takes the largest weight above 448, where the type has no
    # numbers.
    scaled = (weight / scales.float()).clamp(-LARGEST, LARGEST)
    return Fp8Weight(scaled.to(torch.float8_e4m3fn), scales)
