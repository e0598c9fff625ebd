"""Weights from codes whose inputs come first, as GPTQ's and AWQ's files hold them.

Shapes: O outputs, I inputs, G groups.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["dequantise_inputs_first", "group_of_inputs", "in_order"]

_AT_ONCE = 2**18
"""Weights that are worked on at a time by a processor: their float32 form stays in its cache."""
_AT_ONCE_ELSEWHERE = 2**25
"""The same on other devices, which want few and large operations: 128 MiB of float32."""


def dequantise_inputs_first(
    codes_IO: Tensor,
    scales_GO: Tensor,
    zeros_GO: Tensor,
    dtype: torch.dtype,
    group_of: Tensor | None = None,
) -> Tensor:
    """Return the weight (codes - zeros) * scales, products in float32 and rounded once.

    Args:
        codes_IO: [I, O] uint8.
        scales_GO: [G, O] floating point.
        zeros_GO: [G, O] uint8.
        dtype: of the result.
        group_of: [I] each input's group; None where inputs lie in order.

    Returns:
        [O, I], a transposed view of memory that has inputs first.
    """
    inputs, outputs = codes_IO.shape
    weight_IO = torch.empty(inputs, outputs, dtype=dtype, device=codes_IO.device)
    scales, zeros = scales_GO.float(), zeros_GO.float()
    at_once = _AT_ONCE if codes_IO.device.type == "cpu" else _AT_ONCE_ELSEWHERE
    rows = max(at_once // outputs, 1)
    if group_of is not None:
        for start in range(0, inputs, rows):
            some = slice(start, start + rows)
            group = group_of[some].long()
            centred = codes_IO[some].float().sub_(zeros[group])
            weight_IO[some] = centred.mul_(scales[group])
        return weight_IO.t()
    groups = scales.shape[0]
    codes_GJO = codes_IO.view(groups, -1, outputs)
    weight_GJO = weight_IO.view(groups, -1, outputs)
    together = max(rows * groups // inputs, 1)
    for start in range(0, groups, together):
        some = slice(start, start + together)
        centred = codes_GJO[some].float().sub_(zeros[some, None])
        weight_GJO[some] = centred.mul_(scales[some, None])
    return weight_IO.t()


def group_of_inputs(inputs: int, groups: int, device: torch.device | None = None) -> Tensor:
    """Return each input's group where inputs lie in order: [I] int32."""
    return torch.arange(inputs, dtype=torch.int32, device=device) // (inputs // groups)


def in_order(group_of: Tensor, groups: int) -> bool:
    """Return whether groups are runs of as many inputs each, one after the other."""
    return torch.equal(group_of, group_of_inputs(len(group_of), groups, group_of.device))
