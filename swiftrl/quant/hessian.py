"""What calibration leaves of a layer's inputs: the mean of their products, H = mean of x x^T.

Shapes: O outputs, I inputs, N tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from swiftrl.core.errors import ModelError

__all__ = ["Hessian", "factorise", "shrink", "with_drift"]

_MOST_DAMPING = 10.0


@dataclass(slots=True)
class Hessian:
    """Sums over the tokens seen so far, on the device of the inputs.

    Attributes:
        sum_II: [I, I] float32, of x x^T.
        tokens: [] float32, how many.
        drift_II: [I, I] float32, of (x' - x) x^T with x' the input as it would be had no layer
            before been quantised; None if unknown.
    """

    sum_II: Tensor
    tokens: Tensor
    drift_II: Tensor | None = None

    @classmethod
    def empty(cls, inputs: int, device: torch.device | str) -> Hessian:
        """Return sums over no tokens."""
        zeros = torch.zeros(inputs, inputs, device=device)
        return cls(zeros, torch.zeros((), device=device))

    def add(
        self, inputs: Tensor, mask: Tensor | None = None, *, original: Tensor | None = None
    ) -> None:
        """Add a batch; nothing waits for the device.

        Args:
            inputs: [..., I] of any floating point type.
            mask: [...] true where a token counts; all count if None.
            original: [..., I] the same inputs of the model as it was; given with every batch or
                none.
        """
        rows_NI, counts = _rows(inputs, mask), None if mask is None else mask.sum()
        self.tokens += rows_NI.shape[0] if counts is None else counts
        self.sum_II.addmm_(rows_NI.t(), rows_NI)
        if original is not None:
            if self.drift_II is None:
                self.drift_II = torch.zeros_like(self.sum_II)
            self.drift_II.addmm_((_rows(original, mask) - rows_NI).t(), rows_NI)

    def mean(self) -> Tensor:
        """Return [I, I] float32; zero without tokens."""
        return self.sum_II / self.tokens.clamp(min=1)


def _rows(inputs: Tensor, mask: Tensor | None) -> Tensor:
    """Return inputs [N, I] in float32, zero where a token does not count, NaN or not."""
    rows_NI = inputs.reshape(-1, inputs.shape[-1]).float()
    return rows_NI if mask is None else torch.where(mask.reshape(-1, 1), rows_NI, 0)


def factorise(hessian_II: Tensor, damping: float) -> tuple[Tensor, Tensor, float]:
    """Return a Hessian with damping on its diagonal, its lower Cholesky factor and the damping.

    Args:
        hessian_II: [I, I] float32.
        damping: fraction of the mean of the diagonal; doubled as often as it takes.

    Raises:
        ModelError: the Hessian is not finite, or no damping lets it be factorised.
    """
    if not bool(torch.isfinite(hessian_II).all()):
        raise ModelError(
            "A layer's inputs were NaN or infinite during calibration. "
            "Look for rows that overflow, or calibrate in bfloat16 or float32."
        )
    mean = hessian_II.diagonal().mean()
    # Inputs that were all zero say nothing: any multiple of the identity rounds to nearest.
    mean = torch.where(mean > 0, mean, torch.ones_like(mean))
    while damping <= _MOST_DAMPING:
        damped = hessian_II.clone()
        damped.diagonal().add_(damping * mean)
        lower, failed = _cholesky(damped)
        if not int(failed):
            return damped, lower, damping
        damping = max(2 * damping, 1e-4)
    raise ModelError(
        f"A layer's Hessian cannot be factorised, even with {_MOST_DAMPING:g} times its mean added "
        "to its diagonal: it is no sum of squares. Calibrate with more rows or in float32."
    )


def _cholesky(matrix_II: Tensor) -> tuple[Tensor, Tensor]:
    """Return the lower factor, and where it failed or 0."""
    try:
        return torch.linalg.cholesky_ex(matrix_II)
    except RuntimeError:
        # NPUs have no kernel for it; a GPU may have no room. The host has both.
        lower, failed = torch.linalg.cholesky_ex(matrix_II.cpu())
        return lower.to(matrix_II.device), failed


def with_drift(weight_OI: Tensor, hessian: Hessian, *, damping: float = 0.1) -> Tensor:
    """Return the weight [O, I] float32 that gives on drifted inputs what W gave on the originals.

    min ||W X' - V X||^2 + damping ||W - V||^2 is at V = W + W C (H + d I)^-1, C the mean of
    (x' - x) x^T. Rounding V instead of W makes up for the errors of the layers before. The aim is
    that of GPTAQ (Li et al. 2025, arXiv:2504.02692, eq. 6), which follows it input by input.

    Raises:
        ModelError: the Hessian is not finite, or no damping lets it be factorised.
    """
    weight = weight_OI.float()
    if hessian.drift_II is None:
        return weight
    _, lower, _ = factorise(hessian.mean(), damping)
    drift = weight @ (hessian.drift_II / hessian.tokens.clamp(min=1))
    # (W C) (L L^T)^-1, with kernels that NPUs have too.
    half = torch.linalg.solve_triangular(lower.t(), drift, upper=True, left=False)
    return weight + torch.linalg.solve_triangular(lower, half, upper=False, left=False)


def shrink(own: Hessian, pooled: Hessian, strength: float = 1.0) -> Tensor:
    """Return the mean [I, I] of a layer that few tokens reached, drawn towards that of many.

    An expert that sees n tokens knows n directions of its I inputs at most. The posterior mean of
    a covariance under an inverse Wishart prior, (n H + k P) / (n + k), weighs its own H by its
    tokens and the pooled P of all experts by k.

    Args:
        own: of the tokens that reached this expert.
        pooled: of the tokens that reached any expert of the block.
        strength: k as a multiple of I.
    """
    prior = strength * own.sum_II.shape[0]
    return (own.sum_II + prior * pooled.mean()) / (own.tokens + prior)
