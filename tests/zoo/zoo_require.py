"""Comparisons that say in the table of results what was wrong."""

from __future__ import annotations

from torch import Tensor

__all__ = ["close", "require"]


def require(condition: object, message: str) -> None:
    """Raise AssertionError with a message that the table of results shows."""
    if not condition:
        raise AssertionError(message)


def close(found: Tensor, wanted: Tensor, bound: float, what: str) -> None:
    """Compare relative to the largest value wanted."""
    require(found.shape == wanted.shape, f"{what}: {tuple(found.shape)}, not {tuple(wanted.shape)}")
    error = float((found - wanted).abs().max() / wanted.abs().max().clamp_min(1e-6))
    require(error <= bound, f"{what}: off by {error:.1e} of the largest value, allowed {bound:g}")
