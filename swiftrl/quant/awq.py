"""AWQ: inputs scaled before rounding, so that the loud ones lose less.

Lin et al. 2023 (arXiv:2306.00978). Layers with one input x compute W x = (W s) (x / s): their
columns are multiplied by s, and what precedes them gives x / s. What differs from the paper:

- The error is tr(E H E^T), E = W - round(W s) / s, with H the mean of x x^T: that of the outputs,
  over every calibration token and without running the layer again.
- Instead of clipping weights, grids are chosen by the least error (grid.py): files hold scales and
  zero points anyway.
- Scales are found on a sample of the outputs.

Shapes: O outputs, I inputs.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from swiftrl.quant.grid import round_to_nearest
from swiftrl.quant.scheme import QuantWeight, Scheme

__all__ = ["awq", "awq_scales", "into_norm", "into_outputs", "scaled_hessian"]

_SAMPLE = 256
"""Outputs of a layer on which scales are tried."""


def awq_scales(
    weights: Sequence[Tensor],
    hessian_II: Tensor,
    scheme: Scheme,
    *,
    shared_I: Tensor | None = None,
    scale_dtype: torch.dtype = torch.float16,
    ratios: int = 20,
) -> Tensor:
    """Return what to multiply the inputs' columns by, [I] float32; all 1 where nothing helps.

    s = x^a / w^(1 - a), or x^a, for a = 0, 1/ratios, ... 1, with x the root mean square of an input
    and w the mean size of its weights by the largest of their group.

    Args:
        weights: [O, I] each, of the layers that share the input.
        hessian_II: [I, I] mean of x x^T.
        scheme: of the layers.
        shared_I: [I] int64; inputs of one number get one scale, as where several heads of the
            queries read one head of the values. Each gets its own if None.
        scale_dtype: of scales in the file.
        ratios: steps of a.

    Raises:
        ConfigError: groups do not divide the inputs evenly.
    """
    hessian = hessian_II.float()
    sampled = [_sample(weight.float()) for weight in weights]
    loudness = _mean_over(hessian.diagonal(), shared_I).sqrt()
    size = _mean_over(_relative_size(sampled, scheme), shared_I)
    best, least = torch.ones_like(loudness), _lost(sampled, hessian, None, scheme, scale_dtype)
    for step in range(1, ratios + 1):
        ratio = step / ratios
        for candidate in (loudness**ratio, loudness**ratio / size ** (1 - ratio)):
            scales = _centred(candidate)
            lost = _lost(sampled, hessian, scales, scheme, scale_dtype)
            best = torch.where(lost < least, scales, best)
            least = torch.minimum(lost, least)
    return best


def _sample(weight_OI: Tensor) -> Tensor:
    """Return outputs spread evenly over a layer."""
    every = -(-weight_OI.shape[0] // _SAMPLE)
    return weight_OI[::every]


def _relative_size(weights: Sequence[Tensor], scheme: Scheme) -> Tensor:
    """Return [I] mean of |w| by the largest of its group and output."""
    together = torch.cat(list(weights)).abs()
    groups = together.view(len(together), scheme.groups(together.shape[1]), -1)
    largest = groups.amax(-1, keepdim=True).clamp(min=torch.finfo(groups.dtype).tiny)
    return (groups / largest).mean(0).flatten()


def _mean_over(values_I: Tensor, shared_I: Tensor | None) -> Tensor:
    """Return each input's mean over those that share its number."""
    if shared_I is None:
        return values_I
    sums = torch.zeros_like(values_I).index_add_(0, shared_I, values_I)
    count = torch.zeros_like(values_I).index_add_(0, shared_I, torch.ones_like(values_I))
    return (sums / count.clamp(min=1))[shared_I]


def _centred(scales_I: Tensor) -> Tensor:
    """Return scales around 1, as far up as down, away from zero and infinity."""
    scales = scales_I.nan_to_num(nan=1.0, posinf=1.0).clamp(min=1e-4)
    return (scales / (scales.max() * scales.min()).sqrt()).clamp(1e-4, 1e4)


def _lost(
    weights: Sequence[Tensor],
    hessian_II: Tensor,
    scales_I: Tensor | None,
    scheme: Scheme,
    scale_dtype: torch.dtype,
) -> Tensor:
    """Return the squared error of all layers' outputs, [] float32."""
    total = hessian_II.new_zeros(())
    for weight in weights:
        scales = torch.ones_like(weight[0]) if scales_I is None else scales_I
        scaled = weight * scales
        rounded = round_to_nearest(scaled, scheme, search=False, scale_dtype=scale_dtype)
        error = (scaled - rounded.dequantise(torch.float32)) / scales
        total = total + ((error @ hessian_II) * error).sum()
    return total


def awq(
    weight_OI: Tensor,
    hessian_II: Tensor,
    scheme: Scheme,
    *,
    scale_dtype: torch.dtype = torch.float16,
) -> QuantWeight:
    """Round a weight whose columns were scaled, on the grids of the least error.

    Args:
        weight_OI: [O, I], columns times their scales.
        hessian_II: [I, I] of the inputs by their scales: `scaled_hessian`.
        scheme: of the layer.
        scale_dtype: of scales in the file.
    """
    return round_to_nearest(
        weight_OI, scheme, importance_I=hessian_II.diagonal(), scale_dtype=scale_dtype
    )


def scaled_hessian(hessian_II: Tensor, scales_I: Tensor) -> Tensor:
    """Return the mean of x x^T [I, I] for inputs x / s."""
    return hessian_II / scales_I / scales_I[:, None]


def into_norm(norm_I: Tensor, scales_I: Tensor, *, offset: float = 0.0) -> tuple[Tensor, Tensor]:
    """Divide a norm's weight (or bias) by scales.

    Args:
        norm_I: [I] in the type of the file.
        scales_I: [I] float32.
        offset: what the norm adds to its weight: 1 in Gemma's.

    Returns:
        The new weight, and the scales as its rounding leaves them: by these, the columns behind
        are to be multiplied, so that the product stays what it was.
    """
    before = norm_I.float() + offset
    new = (before / scales_I - offset).to(norm_I.dtype)
    after = new.float() + offset
    usable = (before != 0) & (after != 0)
    scales = torch.where(usable, before / torch.where(usable, after, 1), 1)
    return torch.where(usable, new, norm_I), scales


def into_outputs(
    weight_OI: Tensor, bias_O: Tensor | None, scales_O: Tensor
) -> tuple[Tensor, Tensor | None]:
    """Divide the outputs of a linear layer by scales; weight and bias keep their types.

    Args:
        weight_OI: [O, I] of the layer before.
        bias_O: [O] or None.
        scales_O: [O] float32 of the inputs behind, one an output.
    """
    weight = (weight_OI.float() / scales_O[:, None]).to(weight_OI.dtype)
    bias = None if bias_O is None else (bias_O.float() / scales_O).to(bias_O.dtype)
    return weight, bias
