"""NaN and infinity: which row, and which layer made them first."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from swiftrl.export.calibration import Pass

__all__ = ["where_not_finite"]


class _Found(Exception):
    """A module whose output is not finite: its name, kind, and the first such token."""

    def __init__(self, name: str, kind: str, token: int) -> None:
        super().__init__(name)
        self.name, self.kind, self.token = name, kind, token


@torch.no_grad()
def where_not_finite(model: Any, row: Pass, *, when: str = "") -> str:
    """Run a pass again and return a message that names row and layer.

    Args:
        model: that gave NaN or infinity.
        row: on which it did.
        when: for the message, e.g. "after layer 3 was quantised".
    """
    handles = [
        module.register_forward_hook(_watch(name))
        for name, module in model.named_modules()
        if not any(module.children())
    ]
    try:
        model(**row.arguments(model), use_cache=False)
    except _Found as found:
        origin = row.origin_at(min(found.token, len(row.token_ids) - 1))
        what = f"layer {found.name} ({found.kind})"
    else:
        origin, what = row.origins[0], "an operation between its layers"
    finally:
        for handle in handles:
            handle.remove()
    at = f" {when}" if when else ""
    return (
        f"{origin}: this calibration row makes NaN or infinity{at}: {what} is the first to. "
        "Float16 overflows where bfloat16 does not (--torch_dtype bfloat16 or float32); else the "
        "model's weights are damaged, or the row is unlike all that it knows: leave it out."
    )


def _watch(name: str) -> Any:
    def hook(module: nn.Module, args: Any, output: Any) -> None:
        tensor = output if isinstance(output, Tensor) else None
        if tensor is None or not tensor.is_floating_point():
            return
        bad = ~torch.isfinite(tensor)
        if not bool(bad.any()):
            return
        # Of hidden states [1, T, D] the token is known; of others the row is all there is.
        token = int(bad[0].flatten(1).any(1).nonzero()[0]) if tensor.ndim == 3 else 0
        raise _Found(name, type(module).__name__, token)

    return hook
