"""Inputs of layers scaled, and the inverse folded into what makes them (AWQ)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn

from swiftrl.export.method import Gatherer
from swiftrl.export.stages import Stage
from swiftrl.quant.scheme import Scheme

__all__ = ["FoldCache", "scale_inputs"]

FoldCache = dict[str, Any]


def scale_inputs(
    block: nn.Module,
    stages: Sequence[Stage],
    found: Mapping[tuple[str, ...], Gatherer | None],
    runs: Sequence[Callable[[], Any]],
    scheme: Scheme,
    folds: FoldCache,
) -> list[str]:
    """Scale the inputs of a block's layers in place; return the other parameters that changed."""
    return []
