"""Whether rows may share a pass: tried, since not every architecture parts them."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from swiftrl.data.encoded_row import EncodedRow
from swiftrl.export.calibration import Samples, passes

__all__ = ["packs"]

_TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 5e-2, torch.float16: 1e-2}
"""Relative difference of logits that rounding explains; rows that see each other differ by 1."""
_PROBE_TOKENS = 64


@torch.no_grad()
def packs(model: Any, samples: Samples) -> bool:
    """Return whether a model gives rows the same logits together as alone."""
    if "position_ids" not in inspect.signature(type(model).forward).parameters:
        return False
    plain = [row for row in samples.calibration if not row.tensors]
    if len(plain) < len(samples.calibration) or len(plain) < 2:
        return False
    pair = sorted(plain, key=lambda row: len(row.sequences[0]))[:2]
    if sum(len(row.sequences[0]) for row in pair) > 16 * _PROBE_TOKENS:
        return False  # long rows fill a pass by themselves
    together = _logits(model, pair, packed=True)
    alone = _logits(model, pair, packed=False)
    error = float((together - alone).norm() / alone.norm().clamp(min=1e-12))
    return error <= _TOLERANCE.get(model.dtype, 5e-2)


def _logits(model: Any, rows: Sequence[EncodedRow], *, packed: bool) -> Tensor:
    found = [
        model(**row.arguments(model), use_cache=False).logits[0].float()
        for row in passes(rows, 1, packed=packed)
    ]
    return torch.cat(found)
