"""Grids of integers for weights, and rounding to the nearest point of one.

Shapes: O outputs, I inputs, G groups of inputs that share a scale, S inputs of a group.
A grid is (code - zero) * scale with codes 0 up to 2^bits - 1. Inside, inputs come before outputs:
all outputs of one input lie side by side in memory, as they are rounded together.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from swiftrl.quant.scheme import QuantWeight, Scheme

__all__ = [
    "Grid",
    "assemble",
    "find_grid",
    "fit_grid",
    "nearest_steps",
    "round_to_nearest",
    "store_scales",
]

_SYMMETRIC = tuple((part / 100, part / 100) for part in range(100, 50, -5))
_ASYMMETRIC = tuple(
    (low / 100, high / 100)
    for low in range(100, 50, -10)
    for high in range(100, 50, -10)
    if abs(low - high) <= 10
)
"""Parts of the lower and upper end of the weights' range that grids are tried with."""
_REFITS = 2
"""Times that the best of these is fitted to the codes it leads to."""


@dataclass(frozen=True, slots=True)
class Grid:
    """Scales and zero points of groups.

    Attributes:
        scales: [..., O] float32 that the type of the file holds exactly.
        zeros: [..., O] float32, the code that stands for zero.
        bits: of a code.
    """

    scales: Tensor
    zeros: Tensor
    bits: int


def store_scales(scales: Tensor, dtype: torch.dtype) -> Tensor:
    """Return scales as `dtype` holds them, in float32, away from zero and infinity.

    A scale that underflows would leave its group's codes undefined.
    """
    info = torch.finfo(dtype)
    size = scales.abs().clamp(max(info.tiny * info.eps, 2.0**-100), info.max)
    return torch.where(scales < 0, -size, size).to(dtype).float()


def nearest_steps(values_SO: Tensor, grid: Grid) -> Tensor:
    """Return code - zero of the nearest grid points, [..., S, O] float32."""
    lowest = -grid.zeros.unsqueeze(-2)
    steps = (values_SO / grid.scales.unsqueeze(-2)).round_()
    return torch.clamp(steps, lowest, 2**grid.bits - 1 + lowest, out=steps)


def _span(low: Tensor, high: Tensor, scheme: Scheme) -> tuple[Tensor, Tensor]:
    """Return scales and zero points of grids from `low` to `high`, which lie about zero."""
    top = 2**scheme.bits - 1
    if not scheme.symmetric:
        scales = (high - low) / top
        tiny = torch.finfo(scales.dtype).tiny
        return scales, torch.round(-low / scales.clamp(min=tiny)).clamp(0, top)
    scales = torch.maximum(-low, high) * (2 / top)
    zeros = torch.full_like(scales, 2 ** (scheme.bits - 1))
    if scheme.bits == 8:
        return scales, zeros
    # A grid has one step more below zero than above. With few bits that counts: scales below
    # zero turn the grid around, so that the larger end of the weights gets it.
    return torch.where(high > -low, -scales, scales), zeros


def fit_grid(
    groups_SO: Tensor,
    scheme: Scheme,
    *,
    importance_S: Tensor | None = None,
    search: bool = True,
    scale_dtype: torch.dtype = torch.float16,
) -> Grid:
    """Return a grid for each group of weights.

    Args:
        groups_SO: [..., S, O] float32.
        scheme: bits and symmetry.
        importance_S: [..., S] weight of each input's squared error, >= 0; all alike if None.
        search: look for the grid of the least squared error instead of one that spans all weights:
            try parts of the range, then fit the best one's scale to its codes in closed form,
            s = sum(d w c) / sum(d c^2).
        scale_dtype: of scales in the file.
    """
    low, high = groups_SO.amin(-2).clamp(max=0), groups_SO.amax(-2).clamp(min=0)
    scales, zeros = _span(low, high, scheme)
    best = Grid(store_scales(scales, scale_dtype), zeros, scheme.bits)
    if not search:
        return best
    if importance_S is None:
        importance_S = groups_SO.new_ones(groups_SO.shape[:-1])
    weighted_SO = groups_SO * importance_S[..., None]
    fitted, least = best.scales, torch.full_like(scales, torch.inf)

    def offer(scales: Tensor, zeros: Tensor) -> None:
        nonlocal best, fitted, least
        scales = store_scales(scales, scale_dtype)
        steps = nearest_steps(groups_SO, Grid(scales, zeros, scheme.bits))
        moment = (weighted_SO * steps).sum(-2)
        power = (importance_S.unsqueeze(-2) @ steps.square_()).squeeze(-2)
        # The squared error, less the weights' own square, which no grid changes.
        error = scales * (scales * power - 2 * moment)
        better = error < least
        least = torch.minimum(error, least)
        best = Grid(
            torch.where(better, scales, best.scales),
            torch.where(better, zeros, best.zeros),
            scheme.bits,
        )
        fit = torch.where(power > 0, moment / power, scales)
        fitted = torch.where(better, fit, fitted)

    for part_low, part_high in _SYMMETRIC if scheme.symmetric else _ASYMMETRIC:
        offer(*_span(low * part_low, high * part_high, scheme))
    for _ in range(_REFITS):
        offer(fitted, best.zeros)
    return best


def find_grid(
    weight_OI: Tensor,
    scheme: Scheme,
    *,
    importance_I: Tensor | None = None,
    search: bool = True,
    scale_dtype: torch.dtype = torch.float16,
) -> Grid:
    """Return a grid [G, O] for each group of a weight's inputs, as they lie in order.

    Args:
        weight_OI: [O, I] of any floating point type.
        scheme: bits, symmetry and groups.
        importance_I: [I] weight of each input's squared error, e.g. its mean square.
        search: as in `fit_grid`.
        scale_dtype: of scales in the file.

    Raises:
        ConfigError: groups do not divide the inputs evenly.
    """
    groups = scheme.groups(weight_OI.shape[1])
    groups_GSO = weight_OI.float().t().reshape(groups, -1, weight_OI.shape[0])
    importance_GS = None if importance_I is None else importance_I.float().view(groups, -1)
    return fit_grid(
        groups_GSO, scheme, importance_S=importance_GS, search=search, scale_dtype=scale_dtype
    )


def round_to_nearest(
    weight_OI: Tensor,
    scheme: Scheme,
    *,
    importance_I: Tensor | None = None,
    search: bool = True,
    scale_dtype: torch.dtype = torch.float16,
) -> QuantWeight:
    """Return a weight on its grid, every value rounded by itself; arguments as in `find_grid`."""
    grid = find_grid(
        weight_OI, scheme, importance_I=importance_I, search=search, scale_dtype=scale_dtype
    )
    outputs, inputs = weight_OI.shape
    groups_GSO = weight_OI.float().t().reshape(-1, inputs // grid.scales.shape[0], outputs)
    return assemble(nearest_steps(groups_GSO, grid).reshape(inputs, outputs), grid, scale_dtype)


def assemble(
    steps_IO: Tensor, grid: Grid, scale_dtype: torch.dtype, group_of_I: Tensor | None = None
) -> QuantWeight:
    """Return a quantised weight from code - zero [I, O] and a grid [G, O].

    Args:
        steps_IO: whole numbers, float32.
        grid: of every group.
        scale_dtype: of scales in the file.
        group_of_I: each input's group; None where groups lie in order.
    """
    inputs, outputs = steps_IO.shape
    if group_of_I is None:
        groups = grid.zeros.shape[0]
        codes = (steps_IO.view(groups, -1, outputs) + grid.zeros[:, None]).view(inputs, outputs)
    else:
        codes = steps_IO + grid.zeros[group_of_I]
    return QuantWeight(
        codes=codes.to(torch.uint8).t().contiguous(),
        scales=grid.scales.to(scale_dtype).t().contiguous(),
        zeros=grid.zeros.to(torch.uint8).t().contiguous(),
        group_of=group_of_I,
    )
