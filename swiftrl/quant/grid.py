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

_SHRUNKEN = (1.0, 0.9, 0.8, 0.7, 0.6)
"""Fractions of the full range from which the search sets out."""
_REFITS = 2
"""Times that the search fits a scale to the codes it leads to, from each start."""


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
    zeros = grid.zeros.unsqueeze(-2)
    steps = torch.round(values_SO / grid.scales.unsqueeze(-2))
    return torch.minimum(torch.maximum(steps, -zeros), 2**grid.bits - 1 - zeros)


def _spanning(groups_SO: Tensor, scheme: Scheme) -> tuple[Tensor, Tensor]:
    """Return scales and zero points [..., O] that span groups [..., S, O] from end to end."""
    top = 2**scheme.bits - 1
    low = groups_SO.amin(-2).clamp(max=0)
    high = groups_SO.amax(-2).clamp(min=0)
    if scheme.symmetric:
        # One step less up than down: a group without negative weights may lose half a step.
        scales = torch.maximum(-low, high) * (2 / top)
        return scales, torch.full_like(scales, 2 ** (scheme.bits - 1))
    scales = (high - low) / top
    tiny = torch.finfo(scales.dtype).tiny
    return scales, torch.round(-low / scales.clamp(min=tiny)).clamp(0, top)


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
        search: look for the grid of the least squared error instead of one that spans all weights.
            From each of several ranges the scale is fitted to its codes in closed form,
            s = sum(d w c) / sum(d c^2), a few times over.
        scale_dtype: of scales in the file.
    """
    scales, zeros = _spanning(groups_SO, scheme)
    best = store_scales(scales, scale_dtype)
    if not search:
        return Grid(best, zeros, scheme.bits)
    weights = (
        torch.ones_like(groups_SO[..., :1]) if importance_S is None else importance_S[..., None]
    )
    weighted = groups_SO * weights
    least = torch.full_like(scales, torch.inf)
    for fraction in _SHRUNKEN:
        candidate = store_scales(scales * fraction, scale_dtype)
        for _ in range(_REFITS + 1):
            steps = nearest_steps(groups_SO, Grid(candidate, zeros, scheme.bits))
            moment = (weighted * steps).sum(-2)
            power = steps.square_().mul_(weights).sum(-2)
            # The squared error, less the weights' own square, which no grid changes.
            error = candidate * (candidate * power - 2 * moment)
            best = torch.where(error < least, candidate, best)
            least = torch.minimum(error, least)
            fitted = torch.where(power > 0, moment / power, candidate)
            candidate = store_scales(fitted, scale_dtype)
    return Grid(best, zeros, scheme.bits)


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
