"""The decoder layers of a model, each of which is gathered, run and let go by itself."""

from __future__ import annotations

from collections import Counter

from torch import nn

from swiftrl.models.backbone import backbone_of
from swiftrl.models.towers import tower_of
from swiftrl.rlhf.scoring import causal_lm

__all__ = ["units_of"]


def units_of(model: nn.Module) -> list[nn.Module]:
    """Return the decoder layers of a causal language model, in order.

    They are the modules of the longest-weighing list of the language model's own. A layer that
    shares a weight with something else (Zamba's) is left out: it must be gathered with that.
    """
    inner = backbone_of(causal_lm(model)).gives
    lists = [
        module
        for name, module in inner.named_modules()
        if isinstance(module, nn.ModuleList) and tower_of(name, None) == "language"
    ]
    if not lists:
        return []
    layers = max(lists, key=_weight)
    owners = Counter(
        id(parameter)
        for module in model.modules()
        for parameter in module.parameters(recurse=False)
    )
    return [layer for layer in layers if not _shares(layer, owners)]


def _weight(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _shares(layer: nn.Module, owners: Counter[int]) -> bool:
    """Whether a weight of the layer also belongs to a module outside of it."""
    own = Counter(
        id(parameter)
        for module in layer.modules()
        for parameter in module.parameters(recurse=False)
    )
    return any(owners[key] > count for key, count in own.items())
