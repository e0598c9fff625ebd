"""What must hold of pictures, films and sounds: they count, once a tree, through their towers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from zoo_case import Case
from zoo_require import require

from swiftrl.data.batch import Tree, TreeBatch, pack
from swiftrl.models.towers import tower_of
from swiftrl.rlhf.policy import Policy
from swiftrl.rlhf.scoring import Scorer

__all__ = ["media", "towers"]


def media(case: Case) -> None:
    """Each medium changes what follows it, and its encoder runs once a tree, not a sequence."""
    model = case.model()
    policy = Policy(model, fused=False, pictures=case.media_batch())
    for kind, tree in case.media_trees().items():
        with torch.no_grad():
            seen, work = _watched(policy, case, pack([tree]))
            other = policy.logprobs(pack([_changed(tree)])).logps
            _, single = _watched(policy, case, pack([_first_branch(tree)]))
        require((seen - other).abs().max() > 1e-4, f"the {kind} does not matter")
        if policy.layout.layout == "tree":
            require(work == single > 0, f"the {kind} is encoded {work / single:g} times a pair")


def _watched(policy: Policy, case: Case, batch: TreeBatch) -> tuple[Tensor, int]:
    """Return log-probabilities and how many numbers went into the first module of a tower."""
    first: dict[str, int] = {}

    def watch(name: str) -> Any:
        def note(_: nn.Module, args: tuple[Any, ...], given: Mapping[str, Any]) -> None:
            shown = [v for v in (*args, *given.values()) if isinstance(v, Tensor)]
            if shown and (not first or name in first):
                first[name] = first.get(name, 0) + shown[0].numel()

        return note

    hooks = [
        module.register_forward_pre_hook(watch(name), with_kwargs=True)
        for name, module in policy.model.named_modules()
        if not any(module.children()) and tower_of(name, case.spec) != "language"
    ]
    logps = policy.logprobs(batch).logps
    for hook in hooks:
        hook.remove()
    return logps, next(iter(first.values()), 0)


def _changed(tree: Tree) -> Tree:
    shown = dict(tree.media)
    in_numbers = any(tensor.is_floating_point() for tensor in shown.values())
    for name, tensor in shown.items():
        if tensor.is_floating_point():
            shown[name] = tensor.flip(0, -1) * 1.5 + 0.5
        elif not in_numbers and tensor.ndim > 2:
            shown[name] = tensor.flip(-1)
    return _with(tree, media=shown)


def _first_branch(tree: Tree) -> Tree:
    return _with(tree, branch_ids=tree.branch_ids[:1], branch_weights=tree.branch_weights[:1])


def _with(tree: Tree, **changes: Any) -> Tree:
    fields = ("trunk_ids", "branch_ids", "branch_weights", "columns", "media")
    return Tree(**{**{name: getattr(tree, name) for name in fields}, **changes})


def towers(case: Case) -> None:
    """The registry's towers are those weights that text alone does not reach."""
    text = _reached(case, [tree for tree in case.trees() if not tree.media])
    shown = _reached(case, list(case.media_trees().values()))
    stray = sorted(name for name in text if tower_of(name, case.spec) != "language")
    require(not stray, f"text runs through {stray[:2]}, of the {case.spec.name} towers")
    decoders = {_stack(name) for name in text}
    claimed = sorted(
        name
        for name in shown - text
        if tower_of(name, case.spec) == "language" and _stack(name) not in decoders
    )
    require(not claimed, f"only media run through {claimed[:2]}, of the language tower")
    require(
        any(tower_of(name, case.spec) != "language" for name in shown), "no weight is of a tower"
    )


def _stack(name: str) -> str:
    """Return what a weight's name has before the number of its layer, all of it without one."""
    return re.split(r"\.\d+\.", name, maxsplit=1)[0]


def _reached(case: Case, trees: list[Tree]) -> set[str]:
    model = case.model()
    Scorer(model, layout="rows")(pack(trees)).logps.sum().backward()
    return {
        name
        for name, weight in model.named_parameters()
        if weight.grad is not None and weight.grad.any()
    }
