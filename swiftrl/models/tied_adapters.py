"""Adapters of weights that several modules share (Zamba's attention): they share them too."""

from __future__ import annotations

from typing import Any

from torch import nn

__all__ = ["repeated_layers", "share_adapters"]


def share_adapters(adapted: Any) -> None:
    """Give modules with one weight one adapter, so that it can be merged into that weight.

    Args:
        adapted: a PEFT model.
    """
    for other, first in repeated_layers(adapted):
        other.lora_A, other.lora_B = first.lora_A, first.lora_B


def repeated_layers(adapted: Any) -> list[tuple[Any, Any]]:
    """Return each LoRA layer whose weight an earlier one has, with that earlier one."""
    from peft.tuners.lora import LoraLayer

    seen: dict[int, Any] = {}
    repeated = []
    for module in adapted.modules():
        weight = _weight(module.get_base_layer()) if isinstance(module, LoraLayer) else None
        if weight is None:
            continue
        first = seen.setdefault(id(weight), module)
        if first is not module:
            repeated.append((module, first))
    return repeated


def _weight(layer: nn.Module) -> nn.Parameter | None:
    """Return what two layers with one weight have in common; packed layers hold no `weight`."""
    own = layer._parameters
    if "weight" in own or not isinstance(layer, nn.Linear):
        return own.get("weight")
    return next(iter(own.values()))
