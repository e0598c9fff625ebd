"""How much a layer's outputs lose when its weight is rounded.

Shapes: I inputs, O outputs.
"""

from __future__ import annotations

from torch import Tensor

__all__ = ["relative_error"]


def relative_error(weight: Tensor, rounded: Tensor, hessian: Tensor | None) -> float:
    """Return the squared error of a layer's outputs as a share of their own square.

    tr(E H E^T) / tr(W H W^T), E = W - Q; without a Hessian, of the weights themselves.

    Args:
        weight: [O, I]
        rounded: [O, I]
        hessian: [I, I] or None.
    """
    whole, error = weight.float(), weight.float() - rounded.float()

    def size(matrix: Tensor) -> Tensor:
        return ((matrix if hessian is None else matrix @ hessian) * matrix).sum()

    below = float(size(whole))
    return float(size(error)) / below if below > 0 else 0.0
