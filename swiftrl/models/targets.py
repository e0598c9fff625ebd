"""Which modules LoRA goes on: `--target_modules`, `--target_regex`, `--modules_to_save`."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Any

from swiftrl.core import log
from swiftrl.core.errors import ConfigError
from swiftrl.models.backbone import head_of
from swiftrl.models.config import TunerConfig
from swiftrl.models.spec import ModelSpec
from swiftrl.models.towers import frozen_towers, tower_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = [
    "ALL_LINEAR",
    "embedding_names",
    "ends_with_any",
    "linear_names",
    "lora_targets",
    "saved_modules",
]

ALL_LINEAR = "all-linear"
# A router's few weights decide which expert sees a token; adapters on it destabilise training.
_ROUTERS = ("gate", "router", "shared_expert_gate")
# A state-space mixer's kernels read these weights themselves and would pass an adapter by.
_READ_BY_KERNELS = ("out_proj", "dt_proj")


def lora_targets(
    model: PreTrainedModel, config: TunerConfig, spec: ModelSpec | None
) -> str | list[str]:
    """Return what PEFT takes as target_modules: a regular expression, or names.

    "all-linear" is every linear layer but the output head, routers, and frozen towers. Names
    given one by one are matched at the end of module names, frozen towers left out.

    Raises:
        ConfigError: nothing matches, or what matches cannot take LoRA.
    """
    supported = _supported_names(model)
    if config.target_regex is not None:
        return _regex(config.target_regex, supported)
    frozen = frozen_towers(config)
    found: set[str] = set()
    for target in config.target_modules:
        if target == ALL_LINEAR:
            names = linear_names(model)
            _mention_experts(model)
        else:
            names = [name for name in supported if ends_with_any(name, [target])]
        if not names:
            raise ConfigError(_no_match("--target_modules", target, model, supported))
        free = [name for name in names if tower_of(name, spec) not in frozen]
        if not free:
            flags = sorted({frozen[tower_of(name, spec)] for name in names})
            raise ConfigError(
                f"--target_modules {target}: all {len(names)} modules that match are in frozen "
                f"parts of the model. Free them with {' '.join(flags)}."
            )
        found.update(free)
    return _shortest(found, [name for name, _ in model.named_modules() if name])


def saved_modules(model: PreTrainedModel, names: list[str]) -> list[str] | None:
    """Return `--modules_to_save`, each of which must name at least one module.

    Raises:
        ConfigError: a name matches nothing, or quantised weights.
    """
    every = {name: module for name, module in model.named_modules() if name}
    for wanted in names:
        found = [module for name, module in every.items() if ends_with_any(name, [wanted])]
        if not found:
            raise ConfigError(_no_match("--modules_to_save", wanted, model, list(every)))
        if not all(p.is_floating_point() for module in found for p in module.parameters()):
            raise ConfigError(
                f"--modules_to_save {wanted}: its weights are quantised and cannot be trained "
                f"themselves. Give it LoRA instead: --target_modules {wanted}."
            )
    return list(names) or None


def linear_names(model: PreTrainedModel) -> list[str]:
    """Return the full names of linear layers that LoRA may go on.

    Left out are the output head, routers, what a state-space kernel reads by itself, and experts:
    quantised ones are linear layers, stacked ones are not, and both get the same adapters.
    """
    head = head_of(model)
    mixers = {
        name
        for name, module in model.named_modules()
        if hasattr(module, "A_log") and hasattr(module, "D")
    }
    passed_by = {f"{mixer}.{last}" for mixer in mixers for last in _READ_BY_KERNELS}
    experts = tuple(f"{name}." for name in _split_experts(model))
    return [
        name
        for name, module in model.named_modules()
        if _is_linear(module)
        and module is not head
        and name.split(".")[-1] not in _ROUTERS
        and name not in passed_by
        and not name.startswith(experts or ("\0",))
    ]


def embedding_names(model: PreTrainedModel) -> list[str]:
    """Return the names of the input embedding and the output head."""
    ends = (model.get_input_embeddings(), head_of(model))
    return [name for name, module in model.named_modules() if any(module is end for end in ends)]


def _mention_experts(model: PreTrainedModel) -> None:
    """Say what share of the weights all-linear passes over in a mixture of experts."""
    weights = dict(model.named_parameters())
    stacked = sum(p.numel() for name, p in weights.items() if "expert" in name and p.ndim == 3)
    if split := _split_experts(model):
        log.info(
            f"all-linear: the experts of {len(split)} layers get no LoRA, as where they are not "
            "quantised. Name them to give them one: --target_modules gate_proj ..."
        )
    if stacked:
        share = stacked / sum(parameter.numel() for parameter in weights.values())
        log.info(
            f"all-linear: the experts' weights ({share:.0%} of the model) are stacked in "
            "3-dimensional parameters, not linear layers, and get no LoRA."
        )


def _split_experts(model: PreTrainedModel) -> list[str]:
    from swiftrl.models.split_experts import SplitExperts

    return [name for name, module in model.named_modules() if isinstance(module, SplitExperts)]


def _is_linear(module: Any) -> bool:
    import torch
    from transformers.pytorch_utils import Conv1D

    # Quantised layers (Linear4bit, QuantLinear, ...) subclass neither, but say what they are.
    return isinstance(module, (torch.nn.Linear, Conv1D)) or (
        "Linear" in type(module).__name__ and hasattr(module, "in_features")
    )


def _supported_names(model: PreTrainedModel) -> list[str]:
    import torch

    others = (torch.nn.Embedding, torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Conv3d)
    return [
        name
        for name, module in model.named_modules()
        if _is_linear(module) or isinstance(module, others)
    ]


def ends_with_any(name: str, endings: list[str]) -> bool:
    """Return whether a dotted name ends with one of `endings`, compared at dots."""
    return any(name == ending or name.endswith(f".{ending}") for ending in endings)


def _regex(pattern: str, supported: list[str]) -> str:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"--target_regex {pattern}: not a regular expression: {error}.") from None
    if not any(compiled.fullmatch(name) for name in supported):
        raise ConfigError(
            f"--target_regex {pattern}: matches none of the model's {len(supported)} modules that "
            f"can take LoRA. It must match a whole name, such as {supported[-1]!r}."
        )
    return pattern


def _no_match(flag: str, wanted: str, model: PreTrainedModel, names: list[str]) -> str:
    if any(ends_with_any(name, [wanted]) for name, _ in model.named_modules()):
        kind = next(
            type(m).__name__ for name, m in model.named_modules() if ends_with_any(name, [wanted])
        )
        return (
            f"{flag} {wanted}: is a {kind}, and LoRA goes on linear, embedding and convolution "
            f"layers. Train it in full with --modules_to_save {wanted}."
        )
    endings = sorted({name.split(".")[-1] for name in names if not name.split(".")[-1].isdigit()})
    close = difflib.get_close_matches(wanted.split(".")[-1], endings, n=2)
    hint = f" Did you mean {' or '.join(close)}?" if close else ""
    return (
        f"{flag} {wanted}: no module of {type(model).__name__} has this name.{hint} "
        f"Modules: {', '.join(endings[:30])}."
    )


def _shortest(chosen: set[str], every: list[str]) -> list[str]:
    """Return name endings if they select exactly `chosen`, else the full names, sorted.

    PEFT looks at modules of every kind, those that take no LoRA included.
    """
    endings = {name.split(".")[-1] for name in chosen}
    selected = {name for name in every if name.split(".")[-1] in endings}
    # A number, from a list of layers, would name whole layers as well.
    numbered = any(ending.isdigit() for ending in endings)
    return sorted(endings) if selected == chosen and not numbered else sorted(chosen)
