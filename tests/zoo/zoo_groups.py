"""Linear layers that read the same input, which quantisation treats together."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import Conv1D
from zoo_case import Case
from zoo_require import require

from swiftrl.models.towers import tower_of

__all__ = ["quantisation", "shared_inputs"]

Read = dict[str, dict[str, list[int]]]
"""Path of an owner -> name of its child -> where each of the child's inputs lay."""


def quantisation(case: Case) -> None:
    """Layers that the registry groups for quantisation exist, and each group reads one input."""
    read = _watched(case.model(), case)
    for group in case.spec.quant_groups:
        held = [names for names in read.values() if set(group) & set(names)]
        require(held, f"no layer has {', '.join(group)}")
        for names in held:
            require(_shared(group, names), f"{', '.join(group)} do not read the same input")


def shared_inputs(case: Case) -> list[list[str]]:
    """Return the language tower's LoRA targets by the input they share, in order of execution."""
    model = case.model()
    modules = dict(model.named_modules())
    read = {
        owner: {
            name: inputs
            for name, inputs in names.items()
            if name in case.spec.lora_targets
            and isinstance(modules[f"{owner}.{name}"], (nn.Linear, Conv1D))
            and tower_of(f"{owner}.{name}", case.spec) == "language"
        }
        for owner, names in _watched(model, case).items()
        if owner
    }
    groups: list[list[str]] = []
    for names in read.values():
        for inputs in names.values():
            beside = [other for other in names if set(names[other]) & set(inputs)]
            if (group := next((g for g in groups if set(g) & set(beside)), None)) is None:
                groups.append(group := [])
            group += [other for other in beside if other not in group]
    for names in read.values():
        apart = [group for group in groups if not _shared(group, names)]
        groups = [group for group in groups if group not in apart]
        groups += [[name] for group in apart for name in group]
    return groups


def _shared(group: Any, names: dict[str, list[int]]) -> bool:
    inputs = [set(names[name]) for name in group if name in names]
    return all(pointers & inputs[0] for pointers in inputs)


def _watched(model: Any, case: Case) -> Read:
    """Run a few tokens and return where the inputs of every module lay, in order of execution."""
    read: Read = {}
    hooks, kept = [], []

    def watch(owner: str, name: str) -> Any:
        def note(_: nn.Module, args: tuple[Any, ...]) -> None:
            if args:
                # Kept, so that no other tensor comes to lie in its place.
                kept.append(args[0])
                read.setdefault(owner, {}).setdefault(name, []).append(args[0].data_ptr())

        return note

    for path, module in model.named_modules():
        owner, _, name = path.rpartition(".")
        hooks.append(module.register_forward_pre_hook(watch(owner, name)))
    with torch.no_grad():
        model(input_ids=case.text(12, rows=2), use_cache=False)
    for hook in hooks:
        hook.remove()
    return read
