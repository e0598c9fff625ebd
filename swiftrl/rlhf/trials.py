"""Trying a replacement of a module's forward out against the original."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["FAILURES", "agree", "close", "sample"]

FAILURES = (AttributeError, LookupError, RuntimeError, TypeError, ValueError, NotImplementedError)
"""What a module of another make may raise: it wants more than a tensor, such as a gate."""


def sample(*shape: int, like: Tensor, seed: int = 0) -> Tensor:
    """Return the same normal numbers whatever the device."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator).to(like.device, like.dtype)


def close(found: Tensor, expected: Tensor, dtype: torch.dtype) -> bool:
    """Whether two results are equal to the rounding of `dtype`."""
    if found.shape != expected.shape:
        return False
    tolerance = 1e-5 if dtype == torch.float32 else 3e-2
    error = (found.float() - expected.float()).square().mean().sqrt()
    return bool(error <= tolerance * expected.float().square().mean().sqrt())


def agree(
    module: nn.Module, candidate: Callable[..., Any], *inputs: Tensor, dtype: torch.dtype
) -> bool:
    """Whether a replacement gives the module's values, to rounding."""
    training = module.training
    module.eval()
    try:
        with torch.no_grad():
            expected, found = module(*inputs), candidate(*inputs)
    except FAILURES:
        return False
    finally:
        module.train(training)
    return isinstance(expected, Tensor) and close(found, expected, dtype)
