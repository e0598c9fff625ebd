"""What calibration leaves of a layer's inputs: the mean of their products, H = mean of x x^T.

Shapes: I inputs, N tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Hessian", "shrink"]


@dataclass(slots=True)
class Hessian:
    """Sums over the tokens seen so far, on the device of the inputs.

    Attributes:
        sum_II: [I, I] float32, of x x^T.
        tokens: [] float32, how many.
    """

    sum_II: Tensor
    tokens: Tensor

    @classmethod
    def empty(cls, inputs: int, device: torch.device | str) -> Hessian:
        """Return sums over no tokens."""
        zeros = torch.zeros(inputs, inputs, device=device)
        return cls(zeros, torch.zeros((), device=device))

    def add(self, inputs: Tensor, mask: Tensor | None = None) -> None:
        """Add a batch; nothing waits for the device.

        Args:
            inputs: [..., I] of any floating point type.
            mask: [...] true where a token counts; all count if None.
        """
        rows_NI = inputs.reshape(-1, inputs.shape[-1]).float()
        if mask is None:
            self.tokens += rows_NI.shape[0]
        else:
            counts = mask.reshape(-1, 1)
            # Where a token does not count its input may be anything, NaN too.
            rows_NI = torch.where(counts, rows_NI, 0)
            self.tokens += counts.sum()
        self.sum_II.addmm_(rows_NI.t(), rows_NI)

    def mean(self) -> Tensor:
        """Return [I, I] float32; zero without tokens."""
        return self.sum_II / self.tokens.clamp(min=1)


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
