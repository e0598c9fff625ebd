"""4-bit NormalFloat with double quantisation: QLoRA, Dettmers et al. 2023 (arXiv:2305.14314).

A block of 64 weights is divided by the largest of their sizes and rounded to the nearest of 16
points, quantiles of a normal distribution. The blocks' sizes, less their mean, are kept in 8 bits
in turn, 256 under one float32. Values and layout are those of bitsandbytes.

Shapes: O outputs, I inputs, N = O I weights row by row, B = ceil(N / 64) blocks.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import torch
from torch import Tensor

__all__ = ["BLOCK", "NF4", "SCALES_TOGETHER", "dequantise", "layout", "quantise"]

NF4 = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635,
    -0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725,
    0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941,
    0.7229568362236023, 1.0,
)  # fmt: skip
"""The points, float32 (appendix E): quantiles at 8 even steps above and 7 below the median."""
BLOCK = 64
SCALES_TOGETHER = 256
_STRIP = 2**18
"""Weights at a time on a processor: 1 MiB of float32, which its cache holds."""
_WIDE_STRIP = 2**25
"""On an accelerator: 128 MiB."""


def layout(outputs: int, inputs: int) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
    """Return the shapes and types of what `quantise` returns.

    Args:
        outputs: O.
        inputs: I, even.
    """
    blocks = -(-outputs * inputs // BLOCK)
    return {
        "codes": ((outputs, inputs // 2), torch.uint8),
        "absmax": ((blocks,), torch.uint8),
        "absmax_scale": ((-(-blocks // SCALES_TOGETHER),), torch.float32),
        "absmax_mean": ((1,), torch.float32),
    }


def quantise(weight: Tensor) -> dict[str, Tensor]:
    """Return a weight [O, I] in 4 bits, on its device.

    Args:
        weight: finite; I is even.

    Returns:
        codes [O, I/2] uint8 (of two neighbours the first in the upper half), absmax [B] uint8,
        absmax_scale [ceil(B / 256)] float32, absmax_mean [1] float32.
    """
    outputs, inputs = weight.shape
    flat = weight.detach().reshape(-1)
    codes = torch.empty(outputs * inputs // 2, dtype=torch.uint8, device=weight.device)
    sizes = torch.empty(-(-len(flat) // BLOCK), device=weight.device)
    for strip in _strips(flat):
        found, largest = _blockwise(flat[strip].float(), NF4, BLOCK)
        sizes[strip.start // BLOCK : -(-strip.stop // BLOCK)] = largest
        codes[strip.start // 2 : strip.stop // 2] = found[::2] * 16 + found[1::2]
    mean = sizes.mean()
    absmax, scale = _blockwise(sizes - mean, dynamic_8bit(), SCALES_TOGETHER)
    return {
        "codes": codes.view(outputs, inputs // 2),
        "absmax": absmax,
        "absmax_scale": scale,
        "absmax_mean": mean.view(1),
    }


def dequantise(tensors: Mapping[str, Tensor], dtype: torch.dtype) -> Tensor:
    """Return the weight [O, I] in `dtype`; products are taken in float32, rounded once.

    Args:
        tensors: what `quantise` returned.
        dtype: floating point.
    """
    codes = tensors["codes"]
    outputs, half = codes.shape
    flat, sizes = codes.reshape(-1), _sizes(tensors)
    weight = torch.empty(outputs * half * 2, dtype=dtype, device=codes.device)
    pairs = _pairs(codes.device)
    for strip in _strips(weight):
        places = flat[strip.start // 2 : strip.stop // 2].int()
        values = pairs.index_select(0, places).view(torch.float32)
        of_strip = sizes[strip.start // BLOCK : -(-strip.stop // BLOCK)]
        weight[strip] = _by_block(values, of_strip, BLOCK)
    return weight.view(outputs, half * 2)


def dynamic_8bit() -> tuple[float, ...]:
    """Return the 256 points of the dynamic 8-bit type (arXiv:2110.02861, section 2.1), sorted.

    The more leading zeros, the smaller the power of ten and the fewer the steps within it.
    """
    points = [0.0, 1.0]
    for exponent in range(7):
        steps = 2**exponent
        middles = [0.1 + 0.9 * (step + 0.5) / steps for step in range(steps)]
        points += [sign * 10.0 ** (exponent - 6) * m for m in middles for sign in (1, -1)]
    return tuple(sorted(points))


def _strips(flat: Tensor) -> list[slice]:
    length = _STRIP if flat.device.type == "cpu" else _WIDE_STRIP
    return [slice(i, min(i + length, len(flat))) for i in range(0, len(flat), length)]


def _blockwise(flat: Tensor, points: tuple[float, ...], block: int) -> tuple[Tensor, Tensor]:
    """Return codes [N] uint8 of float32 numbers [N], and the largest size [B] of each block."""
    short = -len(flat) % block
    blocks = torch.nn.functional.pad(flat, (0, short)).view(-1, block)
    largest = blocks.abs().amax(dim=1)
    # A block of zeros divides by something that leaves them zero.
    scaled = blocks * largest.clamp_min(torch.finfo(torch.float32).tiny).reciprocal()[:, None]
    return _nearest(scaled.view(-1), points)[: len(flat)], largest


def _nearest(values: Tensor, points: tuple[float, ...]) -> Tensor:
    """Return for float32 numbers in [-1, 1] the index of the nearest point, the lower of two."""
    sorted_points = torch.tensor(points)
    bounds = (sorted_points[:-1] + sorted_points[1:]) / 2
    if len(points) <= 16:
        codes = torch.zeros(values.shape, dtype=torch.uint8, device=values.device)
        for bound in bounds.tolist():
            codes += values > bound
        return codes
    # By halving: not every accelerator has torch.bucketize.
    bounds = bounds.to(values.device)
    found = torch.zeros(values.shape, dtype=torch.int32, device=values.device)
    step = len(points) // 2
    while step:
        found += (values > bounds.index_select(0, found + (step - 1))) * step
        step //= 2
    return found.to(torch.uint8)


def _sizes(tensors: Mapping[str, Tensor]) -> Tensor:
    """Return the blocks' sizes [B], float32."""
    absmax = tensors["absmax"]
    values = _dynamic(absmax.device).index_select(0, absmax.int())
    return _by_block(values, tensors["absmax_scale"], SCALES_TOGETHER) + tensors["absmax_mean"]


def _by_block(values: Tensor, scales: Tensor, block: int) -> Tensor:
    """Return values [N] times the scale of their block; `values` may be written to."""
    count = len(values)
    if count % block:
        values = torch.nn.functional.pad(values, (0, -count % block))
    return values.view(-1, block).mul_(scales[:, None]).view(-1)[:count]


@lru_cache(maxsize=64)
def _pairs(device: torch.device) -> Tensor:
    """Return for each byte its two points, as one number of 64 bits: twice as fast to look up."""
    points = torch.tensor(NF4)
    pairs = torch.stack([points.repeat_interleave(16), points.repeat(16)], dim=1)
    return pairs.view(torch.int64).view(-1).to(device)


@lru_cache(maxsize=64)
def _dynamic(device: torch.device) -> Tensor:
    return torch.tensor(dynamic_8bit(), device=device)
