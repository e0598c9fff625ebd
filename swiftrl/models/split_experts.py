"""Stacked experts as one linear layer an expert and projection, as checkpoints hold them.

transformers stacks a mixture's experts in 3-dimensional parameters; quantisers work on linear
layers, and files of quantised weights hold one each (`mlp.experts.0.gate_proj.qweight`).

Shapes: T tokens, k experts a token, E experts, D width, I inner width.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from swiftrl.core.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["SplitExperts", "merges_experts", "split_experts", "stacked_experts"]


@dataclass(frozen=True, slots=True)
class _Names:
    """What an expert's layers are called."""

    gate: str = "gate_proj"
    up: str = "up_proj"
    down: str = "down_proj"


class SplitExperts(nn.Module):
    """Experts 0 to E - 1, each with three linear layers; called like the stacked module.

    Attributes:
        number: E.
    """

    def __init__(self, stacked: Any, names: _Names) -> None:
        """Take the weights of a stacked module, as views.

        Args:
            stacked: holds `gate_up_proj` [E, 2 I, D] and `down_proj` [E, D, I].
            names: of the layers.
        """
        super().__init__()
        # What the gate reads: the activation, and limits of some families.
        for name, value in vars(stacked).items():
            if not name.startswith("_") and name not in ("training", "forward"):
                setattr(self, name, value)
        for name, child in stacked.named_children():
            setattr(self, name, child)
        self.names, self.number = names, len(stacked.gate_up_proj)
        kind: Any = type(stacked)
        plain = kind._apply_gate.__name__ == "_default_apply_gate"
        self.own_gate = None if plain else kind._apply_gate
        for index in range(self.number):
            gate, up = stacked.gate_up_proj[index].detach().chunk(2)
            down = stacked.down_proj[index].detach()
            expert = nn.Module()
            for name, weight in ((names.gate, gate), (names.up, up), (names.down, down)):
                trains = stacked.down_proj.requires_grad
                expert.add_module(name, _linear(weight, requires_grad=trains))
            self.add_module(str(index), expert)

    def other_names(self) -> dict[str, str]:
        """Return what some quantisers call an expert's layers, and their names here, if others."""
        usual, own = _Names(), self.names
        pairs = ((usual.gate, own.gate), (usual.up, own.up), (usual.down, own.down))
        return {theirs: ours for theirs, ours in pairs if theirs != ours}

    def forward(self, hidden_states: Tensor, top_k_index: Tensor, top_k_weights: Tensor) -> Tensor:
        """Return y_t = sum over its experts e of w_te down_e(gate(up_e(x_t))), [T, D].

        Args:
            hidden_states: [T, D].
            top_k_index: [T, k]; an index of E or more is no expert.
            top_k_weights: [T, k].
        """
        result = torch.zeros_like(hidden_states)
        present = torch.unique(top_k_index).tolist()
        for index in (number for number in present if 0 <= number < self.number):
            token, place = torch.where(top_k_index == index)
            y = self._expert(index, hidden_states[token]) * top_k_weights[token, place, None]
            result.index_add_(0, token, y.to(result.dtype))
        return result

    def _expert(self, index: int, x: Tensor) -> Tensor:
        expert, names = getattr(self, str(index)), self.names
        gate, up = getattr(expert, names.gate)(x), getattr(expert, names.up)(x)
        if self.own_gate is not None:
            inner = self.own_gate(self, torch.cat([gate, up], dim=-1))
        else:
            activation: Any = self.act_fn
            inner = activation(gate) * up
        return getattr(expert, names.down)(inner)


def split_experts(model: PreTrainedModel) -> int:
    """Replace every stacked module of experts in place by one of linear layers.

    The function computed is the same. The new weights are views of the old ones.

    Args:
        model: loaded, or without values on the meta device.

    Returns:
        how many modules were replaced.

    Raises:
        ModelError: experts of another kind.
    """
    found = stacked_experts(model)
    if not found:
        return 0
    names = _published_names(model)
    for path, module in found:
        if reason := _unlike(module):
            raise ModelError(
                f"{type(model).__name__}: the experts at {path} ({type(module).__name__}) are "
                f"stacked in a way that is not taken apart here: {reason}. Leave the experts "
                "unquantised."
            )
    for path, module in found:
        model.set_submodule(path, SplitExperts(module, names))
    return len(found)


def stacked_experts(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return the modules, by path, whose own parameters stack experts' weights."""
    return [
        (path, module)
        for path, module in model.named_modules()
        if "expert" in path
        and any(parameter.dim() == 3 for parameter in module.parameters(recurse=False))
    ]


def _unlike(module: Any) -> str | None:
    """Return what sets a stacked module apart from the usual form; None if nothing does."""
    shapes = {name: parameter.dim() for name, parameter in module.named_parameters(recurse=False)}
    if shapes != {"gate_up_proj": 3, "down_proj": 3}:
        return f"its weights are {', '.join(sorted(shapes))}, expected gate_up_proj and down_proj"
    if getattr(module, "is_transposed", True):
        return "inputs come before outputs"
    if not getattr(module, "is_concatenated", False):
        return "gate and up projections are interleaved"
    if getattr(module, "has_bias", False) or not getattr(module, "has_gate", True):
        return "it has biases or no gate"
    if getattr(module, "has_post_expert_norm", False):
        return "each expert ends in a norm"
    return None


def _published_names(model: PreTrainedModel) -> _Names:
    """Return the names of an expert's layers in published checkpoints.

    They are those that transformers merges; where checkpoints are stacked themselves, the ones
    that quantisers and vLLM use.
    """
    from transformers.conversion_mapping import get_model_conversion_mapping

    merged: dict[str, list[str]] = {}
    for transform in get_model_conversion_mapping(model):
        if merges_experts(transform):
            last = str(transform.target_patterns[0]).rpartition(".")[2]
            merged.setdefault(last, _single_experts(transform))
    gate_up, down = merged.get("gate_up_proj", []), merged.get("down_proj", [])
    if len(gate_up) == 2 and len(down) == 1:
        return _Names(gate_up[0], gate_up[1], down[0])
    return _Names()


def merges_experts(transform: Any) -> bool:
    """Return whether a conversion of transformers stacks single experts' weights."""
    target = str(transform.target_patterns[0])
    stacked = target.rpartition(".")[2] in ("gate_up_proj", "down_proj") and "expert" in target
    return stacked and len(_single_experts(transform)) == len(transform.source_patterns)


def _single_experts(transform: Any) -> list[str]:
    """Return the names of single experts' layers that a conversion reads."""
    patterns = (str(pattern) for pattern in transform.source_patterns)
    found = (re.search(r"experts\W.*?(\w+)\\?\.weight$", pattern) for pattern in patterns)
    return [match[1] for match in found if match is not None]


def _linear(weight: Tensor, *, requires_grad: bool) -> nn.Linear:
    outputs, inputs = weight.shape
    layer = nn.Linear(inputs, outputs, bias=False, device="meta")
    layer.weight = nn.Parameter(weight, requires_grad=requires_grad)
    return layer
