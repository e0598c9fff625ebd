"""GPTQ: weights rounded one input at a time, later inputs making up for the errors of earlier ones.

Frantar et al. 2022 (arXiv:2210.17323). What differs from the paper:

- Errors are carried forward by a factor of the Hessian itself, H = U D U^T with U unit upper
  triangular, instead of the Cholesky factor of its inverse: the same numbers (Chee et al. 2023,
  arXiv:2307.13304, theorem 6) from one factorisation instead of three.
- A group's grid is chosen when the group is reached, for its weights as corrected so far, by the
  least error, where each input counts by what it cannot be made up for: D.
- An output for which this does worse than rounding to nearest is rounded to nearest.
- Behind it, scales and codes are polished in turn: a scale is fitted to its codes, a code is
  rounded anew, given all others. The error cannot grow.

Shapes: O outputs, I inputs, G groups of inputs that share a scale, S inputs of a group.
Errors are weight minus rounded weight; inputs come before outputs, as in grid.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from swiftrl.core.errors import ModelError
from swiftrl.quant.grid import Grid, assemble, fit_grid, nearest_steps, store_scales
from swiftrl.quant.hessian import factorise
from swiftrl.quant.scheme import QuantWeight, Scheme

__all__ = ["Gptq", "gptq", "output_error"]


@dataclass(frozen=True, slots=True)
class Gptq:
    """A rounded weight.

    Attributes:
        weight: on its grid.
        damping: what was added to the Hessian's diagonal, as a fraction of the diagonal's mean.
    """

    weight: QuantWeight
    damping: float


@dataclass(frozen=True, slots=True)
class _Problem:
    """What is to be rounded, inputs in the order of rounding, groups side by side.

    Attributes:
        weight_IO: [I, O] float32.
        hessian_II: [I, I] float32, damped.
        unit_II: U of H = U D U^T, unit upper triangular.
        pivots_I: the diagonal of D.
        scheme: bits and symmetry.
        group_size: inputs of a group.
        scale_dtype: of scales in the file.
        block_size: inputs whose errors are carried on at once.
    """

    weight_IO: Tensor
    hessian_II: Tensor
    unit_II: Tensor
    pivots_I: Tensor
    scheme: Scheme
    group_size: int
    scale_dtype: torch.dtype
    block_size: int

    def groups(self) -> list[slice]:
        inputs, size = self.weight_IO.shape[0], self.group_size
        return [slice(start, start + size) for start in range(0, inputs, size)]

    def blocks(self, group: slice) -> list[slice]:
        """Return a group's inputs in pieces of `block_size`."""
        starts = range(group.start, group.stop, self.block_size)
        return [slice(start, min(start + self.block_size, group.stop)) for start in starts]


def output_error(weight_OI: Tensor, quantised: QuantWeight, hessian_II: Tensor) -> float:
    """Return the squared error of a layer's outputs as a fraction of their own square.

    tr(E H E^T) / tr(W H W^T) with E = W - Q; 0 where the outputs are zero.
    """
    weight, hessian = weight_OI.float(), hessian_II.float()
    error = weight - quantised.dequantise(torch.float32)
    lost = ((error @ hessian) * error).sum()
    whole = ((weight @ hessian) * weight).sum()
    return float(lost / whole) if float(whole) > 0 else 0.0


def gptq(
    weight_OI: Tensor,
    hessian_II: Tensor,
    scheme: Scheme,
    *,
    scale_dtype: torch.dtype = torch.float16,
    damping: float = 0.01,
    block_size: int = 128,
    sweeps: int = 2,
    search: bool = True,
) -> Gptq:
    """Round a linear layer's weight so that its outputs change little.

    Args:
        weight_OI: [O, I] of any floating point type.
        hessian_II: [I, I] mean of x x^T over calibration tokens, or any multiple of it.
        scheme: bits, groups and symmetry. Inputs are rounded in falling order of their mean
            square. With `act_order` groups are made in that order; without it they stay as they
            lie, and the order holds among groups and within each.
        scale_dtype: of scales in the file.
        damping: fraction of the mean of the Hessian's diagonal that is added to the diagonal;
            doubled as often as it takes to factorise the sum.
        block_size: inputs whose errors are carried on at once.
        sweeps: times that scales and codes are polished.
        search: choose grids by the least error instead of the largest weight.

    Raises:
        ConfigError: groups do not divide the inputs evenly.
        ModelError: the weight or the Hessian is not finite, or no damping lets it be factorised.
    """
    groups = scheme.groups(weight_OI.shape[1])
    if not bool(torch.isfinite(weight_OI).all()):
        raise ModelError(
            "A weight holds NaN or infinity and cannot be quantised: the model's file is damaged."
        )
    order = _order(hessian_II.diagonal().float(), groups, scheme.act_order)
    hessian = hessian_II.float()[order][:, order]
    # Upper triangular, with the factor on the left: that of the matrix turned around.
    damped, lower, used = factorise(hessian.flip(0, 1), damping)
    upper = lower.flip(0, 1)
    problem = _Problem(
        weight_IO=weight_OI.float().t()[order],
        hessian_II=damped.flip(0, 1),
        unit_II=upper / upper.diagonal(),
        pivots_I=upper.diagonal().square(),
        scheme=scheme,
        group_size=len(order) // groups,
        scale_dtype=scale_dtype,
        block_size=block_size,
    )
    steps, grid = _no_worse_than_nearest(problem, *_round(problem, search), search)
    for _ in range(sweeps):
        _polish(problem, steps, grid)
    return Gptq(_in_place(steps, grid, order, scheme, scale_dtype), used)


def _order(mean_square_I: Tensor, groups: int, act_order: bool) -> Tensor:
    """Return the inputs in the order of rounding."""
    if act_order:
        return torch.argsort(mean_square_I, descending=True, stable=True)
    size, within = torch.sort(mean_square_I.view(groups, -1), dim=1, descending=True, stable=True)
    among = torch.argsort(size[:, 0], descending=True, stable=True)
    starts = torch.arange(groups, device=within.device) * within.shape[1]
    return (within + starts[:, None])[among].flatten()


def _round(problem: _Problem, search: bool) -> tuple[Tensor, Grid]:
    """Return steps (code - zero) [I, O] and the grid [G, O] of GPTQ."""
    weight, unit = problem.weight_IO, problem.unit_II
    steps, error = torch.empty_like(weight), torch.empty_like(weight)
    grids: list[Grid] = []
    for group in problem.groups():
        rounded = slice(0, group.start)
        carried = unit[rounded, group].t() @ error[rounded]
        made_up = torch.linalg.solve_triangular(
            unit[group, group].t(), carried, upper=False, unitriangular=True
        )
        grid = fit_grid(
            weight[group] + made_up,
            problem.scheme,
            importance_S=problem.pivots_I[group],
            search=search,
            scale_dtype=problem.scale_dtype,
        )
        grids.append(grid)
        for block in problem.blocks(group):
            start = block.start - group.start
            target = carried[start : block.stop - group.start]
            if start:
                done = slice(group.start, block.start)
                target = target + unit[done, block].t() @ error[done]
            target = target + weight[block]
            _round_block(
                target, weight[block], unit[block, block], grid, steps[block], error[block]
            )
    scales = torch.stack([grid.scales for grid in grids])
    return steps, Grid(scales, torch.stack([grid.zeros for grid in grids]), problem.scheme.bits)


def _round_block(
    target: Tensor, weight: Tensor, unit: Tensor, grid: Grid, steps: Tensor, error: Tensor
) -> None:
    """Round inputs one by one into `steps` and `error`; `target`, used up, has earlier blocks'."""
    lowest, highest = -grid.zeros, 2**grid.bits - 1 - grid.zeros
    rows = zip(target.unbind(), weight.unbind(), steps.unbind(), error.unbind(), strict=True)
    for i, (wanted, value, step, left) in enumerate(rows):
        if i:
            wanted.addmv_(error[:i].t(), unit[:i, i])
        torch.div(wanted, grid.scales, out=step).round_()
        torch.clamp(step, lowest, highest, out=step)
        torch.addcmul(value, step, grid.scales, value=-1, out=left)


def _no_worse_than_nearest(
    problem: _Problem, steps_IO: Tensor, grid: Grid, search: bool
) -> tuple[Tensor, Grid]:
    """Return steps and grid, of each output the better of those given and the nearest."""
    weight = problem.weight_IO
    groups_GSO = weight.view(len(grid.scales), problem.group_size, -1)
    plain = fit_grid(groups_GSO, problem.scheme, search=search, scale_dtype=problem.scale_dtype)
    nearest_GSO = nearest_steps(groups_GSO, plain)

    def lost_O(steps_GSO: Tensor, scales_GO: Tensor) -> Tensor:
        error = weight - (steps_GSO * scales_GO[:, None]).view_as(weight)
        # e H e = sum_k D_k (e U)_k^2, which rounding cannot make negative.
        return (problem.unit_II.t() @ error).square_().mul_(problem.pivots_I[:, None]).sum(0)

    worse = lost_O(nearest_GSO, plain.scales) < lost_O(steps_IO.view_as(groups_GSO), grid.scales)
    steps = torch.where(worse, nearest_GSO.view_as(weight), steps_IO)
    scales, zeros = (
        torch.where(worse, plain.scales, grid.scales),
        torch.where(worse, plain.zeros, grid.zeros),
    )
    return steps, Grid(scales, zeros, grid.bits)


def _polish(problem: _Problem, steps_IO: Tensor, grid: Grid) -> None:
    """Fit every scale to its codes, then round every code anew, each given all others; in place.

    With gradient g = H e of half the squared error, the best scale moves by c g / c H c and the
    best value of input i by g_i / H_ii.
    """
    hessian = problem.hessian_II
    scales_IO = grid.scales.repeat_interleave(problem.group_size, 0)
    error = problem.weight_IO - steps_IO * scales_IO
    for index, group in enumerate(problem.groups()):
        steps = steps_IO[group]
        gradient = hessian[group] @ error
        curved = hessian[group, group] @ steps
        slope, curvature = (steps * gradient).sum(0), (steps * curved).sum(0)
        fitted = grid.scales[index] + torch.where(curvature > 0, slope / curvature, 0)
        move = store_scales(fitted, problem.scale_dtype) - grid.scales[index]
        # Rounded to the file's type, a move may lead past the optimum and back up.
        move = torch.where(move * (move * curvature - 2 * slope) < 0, move, 0)
        grid.scales[index] += move
        error[group] -= move * steps
        gradient -= move * curved
        one = Grid(grid.scales[index], grid.zeros[index], grid.bits)
        for block in problem.blocks(group):
            here = slice(block.start - group.start, block.stop - group.start)
            moved = _round_anew(gradient[here], hessian[block, block], one, steps[here])
            error[block] -= moved
            if here.stop < len(steps):
                rest = slice(block.stop, group.stop)
                gradient[here.stop :] -= hessian[rest, block] @ moved


def _round_anew(gradient: Tensor, hessian: Tensor, grid: Grid, steps: Tensor) -> Tensor:
    """Round inputs one by one, given all others, in `steps`; return how far their values moved.

    `gradient` is used up.
    """
    lowest, highest = -grid.zeros, 2**grid.bits - 1 - grid.zeros
    reach = hessian.diagonal()[:, None] * grid.scales
    moved = torch.empty_like(steps)
    rows = zip(gradient.unbind(), reach.unbind(), steps.unbind(), moved.unbind(), strict=True)
    for i, (slope, far, step, move) in enumerate(rows):
        if i:
            slope.addmv_(moved[:i].t(), hessian[:i, i], alpha=-1)
        best = torch.addcdiv(step, slope, far).round_()
        torch.clamp(best, lowest, highest, out=best)
        torch.mul(best.sub(step), grid.scales, out=move)
        step.copy_(best)
    return moved


def _in_place(
    steps_IO: Tensor, grid: Grid, order: Tensor, scheme: Scheme, scale_dtype: torch.dtype
) -> QuantWeight:
    """Return the weight with its inputs, and groups where they lie in order, back in place."""
    groups, place = len(grid.scales), torch.argsort(order)
    size = len(order) // groups
    if scheme.act_order and groups > 1:
        group_of = place // size
        return assemble(steps_IO[place], grid, scale_dtype, group_of)
    among = torch.argsort(order[::size] // size)
    grid = Grid(grid.scales[among], grid.zeros[among], grid.bits)
    return assemble(steps_IO[place], grid, scale_dtype)
