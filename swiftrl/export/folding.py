"""Inputs of layers scaled, and the inverse folded into what makes them (AWQ, arXiv:2306.00978).

What makes an input is found by running the block, not by names: a norm whose output is the very
tensor that layers read, or a layer before them whose outputs become their inputs by products
alone. A fold is tried first, with scales that are powers of two and so exact: where the block's
output changes, nothing is folded.

Shapes: I inputs, O outputs, H heads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from swiftrl.export.method import Gatherer
from swiftrl.export.stages import Stage
from swiftrl.export.traced import Traced, traced
from swiftrl.quant.awq import awq_scales, into_norm, into_outputs
from swiftrl.quant.hessian import Hessian
from swiftrl.quant.scheme import Scheme

__all__ = ["Fold", "FoldCache", "scale_inputs"]

_SAME = 0.03
"""Share of what unfolded scales change that rounding in bfloat16 explains."""
_EXPERTS = 16
"""Experts whose weights choose the scales of an input that all of them share."""


@dataclass(frozen=True, slots=True)
class Fold:
    """Layers that read one input, and what takes the inverse of their scales.

    Attributes:
        sets: of the layers, all scaled alike.
        readers: names of all modules whose columns are scaled: `sets` and, say, a router.
        maker: name of the norm or layer before.
        offset: what a norm adds to its weight; None for a layer.
        rows: first of the layer's outputs that become inputs.
        repeats: inputs in a row of one head that share the maker's outputs, with the width of a
            head: (heads that read one, width); None where each input has an output of its own.
    """

    sets: tuple[tuple[str, ...], ...]
    readers: tuple[str, ...]
    maker: str
    offset: float | None = None
    rows: int = 0
    repeats: tuple[int, int] | None = None


FoldCache = dict[tuple[str, ...], list[Fold]]
"""Folds of blocks by their layers' names."""


def scale_inputs(
    block: nn.Module,
    stages: Sequence[Stage],
    found: Mapping[tuple[str, ...], Gatherer | None],
    runs: Sequence[Callable[[], Any]],
    scheme: Scheme,
    folds: FoldCache,
) -> list[str]:
    """Scale the inputs of a block's layers in place.

    Args:
        block: the block; weights of its layers and of what makes their inputs change, and what
            it computes does not.
        stages: its layers.
        found: Hessians of the inputs of each set of layers; divided by the scales here.
        runs: forward passes of the block.
        scheme: of the layers.
        folds: filled for the next block like this one.

    Returns:
        names of the parameters that changed, those of the layers' own weights aside.
    """
    kind = tuple(name for stage in stages for name in stage.names)
    if kind not in folds:
        folds[kind] = _find_folds(block, stages, runs)
    layers = {f"{name}.weight" for name in kind}
    changed: set[str] = set()
    for fold in folds[kind]:
        known = [item for names in fold.sets if isinstance(item := found[names], Hessian)]
        hessian = _pooled(known)
        every = max(1, len(fold.sets) // _EXPERTS)
        weights = [_weight(block, name) for names in fold.sets[::every] for name in names]
        inputs = weights[0].shape[1]
        shared = None if fold.repeats is None else _maker_output(fold, inputs, weights[0].device)
        scales = awq_scales(weights, hessian, scheme, shared_I=shared)
        used, names = _apply(block, fold, scales)
        changed.update(names)
        for item in known:
            item.sum_II.div_(used).div_(used[:, None])
    return sorted(changed - layers)


def _pooled(known: Sequence[Hessian]) -> Tensor:
    total = sum((item.sum_II for item in known[1:]), known[0].sum_II.clone())
    return total / sum((item.tokens for item in known[1:]), known[0].tokens.clone()).clamp(min=1)


def _weight(block: nn.Module, name: str) -> Tensor:
    return block.get_parameter(f"{name}.weight").data


def _maker_output(fold: Fold, inputs: int, device: torch.device) -> Tensor:
    """Return which of the maker's outputs each input is made of, [I]."""
    place = torch.arange(inputs, device=device)
    if fold.repeats is None:
        return place
    heads, width = fold.repeats
    return (place // (heads * width)) * width + place % width


def _apply(block: nn.Module, fold: Fold, scales_I: Tensor) -> tuple[Tensor, list[str]]:
    """Fold scales; return them as rounding leaves them, and the names of what changed."""
    maker: Any = block.get_submodule(fold.maker)
    bias: nn.Parameter | None = getattr(maker, "bias", None)
    old = None if bias is None else bias.data
    if fold.offset is not None:
        weight, scales_I = into_norm(maker.weight.data, scales_I, offset=fold.offset)
        new = None if old is None else (old.float() / scales_I).to(old.dtype)
    else:
        outputs = torch.ones(len(maker.weight), device=scales_I.device)
        outputs[fold.rows + _maker_output(fold, len(scales_I), scales_I.device)] = scales_I
        weight, new = into_outputs(maker.weight.data, old, outputs)
    maker.weight.data = weight
    changed = [f"{name}.weight" for name in (*fold.readers, fold.maker)]
    if bias is not None and new is not None:
        bias.data = new
        changed.append(f"{fold.maker}.bias")
    _scale_columns(block, fold.readers, scales_I)
    return scales_I, changed


def _find_folds(
    block: nn.Module, stages: Sequence[Stage], runs: Sequence[Callable[[], Any]]
) -> list[Fold]:
    """Return the folds that leave a block's output as it is."""
    seen = traced(block, runs[0])
    folds: list[Fold] = []
    taken: set[tuple[str, ...]] = set()
    for candidate in _candidates(block, stages, seen):
        if taken.isdisjoint(candidate.sets) and _harmless(block, candidate, runs[0]):
            for fold in _for_every_expert(candidate, stages):
                folds.append(fold)
                taken.update(fold.sets)
    return folds


def _for_every_expert(fold: Fold, stages: Sequence[Stage]) -> list[Fold]:
    """Return the fold of one expert as that of each; another fold by itself."""
    stage = next(stage for stage in stages if fold.sets[0] in stage.sets)
    if not stage.repeats or len(fold.sets) > 1:
        return [fold]
    same = []
    for names in stage.sets:
        number = iter([part for part in names[0].split(".") if part.isdigit()])
        parts = [next(number) if part.isdigit() else part for part in fold.maker.split(".")]
        same.append(replace(fold, sets=(names,), readers=names, maker=".".join(parts)))
    return same


def _candidates(block: nn.Module, stages: Sequence[Stage], seen: Traced) -> Iterator[Fold]:
    """Yield folds that may be right, the likeliest of each set of layers first."""
    for number, stage in enumerate(stages):
        if stage.repeats:
            yield from _before_experts(block, stages, stage, seen)
        for names in stage.sets:
            if names[0] not in seen.inputs:
                continue
            for norm in seen.makers_of(names[0]):
                yield from _norms(block, _sets_of(stages, seen.readers_of(norm)), norm, seen, ())
            before = [name for earlier in stages[:number] for name in earlier.names]
            yield from _layers(block, names, before)


def _sets_of(stages: Sequence[Stage], readers: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Return the sets whose layers are among the readers of one tensor."""
    every = [names for stage in stages for names in stage.sets]
    return tuple(names for names in every if names[0] in readers)


def _norms(
    block: nn.Module,
    sets: tuple[tuple[str, ...], ...],
    norm: str,
    seen: Traced,
    more: Sequence[str],
) -> Iterator[Fold]:
    width = _weight(block, sets[0][0]).shape[1]
    weight = getattr(block.get_submodule(norm), "weight", None)
    if weight is None or weight.shape != (width,):
        return
    readers = tuple(dict.fromkeys([*seen.readers_of(norm), *more]))
    for offset in (0.0, 1.0):
        yield Fold(sets, readers, norm, offset)


def _before_experts(
    block: nn.Module, stages: Sequence[Stage], stage: Stage, seen: Traced
) -> Iterator[Fold]:
    """Yield folds of the norm whose output experts read, each some rows of it."""
    experts = [name for names in stage.sets for name in names]
    width = _weight(block, experts[0]).shape[1]
    for norm in reversed(seen.norms(block, width)):
        others = _sets_of(stages, seen.readers_of(norm))
        yield from _norms(block, (*stage.sets, *others), norm, seen, experts)


def _layers(block: nn.Module, names: tuple[str, ...], before: Sequence[str]) -> Iterator[Fold]:
    """Yield folds into a layer that runs before: of the same expert, if it is one."""
    inputs = _weight(block, names[0]).shape[1]
    own = [part for part in names[0].split(".") if part.isdigit()]
    for maker in reversed(before):
        if [part for part in maker.split(".") if part.isdigit()] != own:
            continue
        outputs = _weight(block, maker).shape[0]
        if outputs == inputs:
            yield Fold((names,), names, maker)
        elif outputs == 2 * inputs:
            yield Fold((names,), names, maker, rows=inputs)
            yield Fold((names,), names, maker, rows=0)
        elif inputs % outputs == 0 and (width := _head_width(block, maker)):
            yield Fold((names,), names, maker, repeats=(inputs // outputs, width))


def _head_width(block: nn.Module, layer: str) -> int | None:
    parent = block.get_submodule(layer.rpartition(".")[0])
    width = getattr(parent, "head_dim", None)
    return width if isinstance(width, int) and width > 0 else None


@dataclass
class _Saved:
    """Parameters as they were before a fold was tried."""

    block: nn.Module
    values: dict[str, Tensor] = field(default_factory=dict)

    def keep(self, names: Sequence[str]) -> None:
        for name in names:
            for end in ("weight", "bias"):
                parameter = getattr(self.block.get_submodule(name), end, None)
                if isinstance(parameter, nn.Parameter):
                    self.values[f"{name}.{end}"] = parameter.data

    def restore(self) -> None:
        for name, value in self.values.items():
            self.block.get_parameter(name).data = value


def _harmless(block: nn.Module, fold: Fold, run: Callable[[], Any]) -> bool:
    """Try a fold; return whether the block's output stays what it was.

    It is measured against what the scales do when nothing takes their inverse.
    """
    saved = _Saved(block)
    saved.keep([*fold.readers, fold.maker])
    weight = _weight(block, fold.sets[0][0])
    # 1/2, 1, 2 in turn over what makes the inputs: exact in every floating type.
    made_of = _maker_output(fold, weight.shape[1], weight.device)
    scales = torch.pow(2.0, (made_of % 3 - 1).float())
    before = run().float()
    try:
        _scale_columns(block, fold.readers, scales)
        unfolded = (run().float() - before).norm()
        saved.restore()
        used, _ = _apply(block, fold, scales)
        folded = (run().float() - before).norm()
    finally:
        saved.restore()
    # A norm whose weight is zero takes no scale, and shows nothing.
    tried = float((used != 1).float().mean()) > 0.5
    return tried and bool(unfolded > 0) and bool(folded <= _SAME * unfolded)


def _scale_columns(block: nn.Module, readers: Sequence[str], scales_I: Tensor) -> None:
    for name in readers:
        weight = block.get_parameter(f"{name}.weight")
        weight.data = (weight.data.float() * scales_I).to(weight.dtype)
