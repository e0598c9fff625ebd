"""In which order a block's layers run, and which of them read the same input."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from swiftrl.export.layers import pattern_of

__all__ = ["Stage", "behind", "gather", "same_memory", "trace"]


@dataclass(frozen=True, slots=True)
class Stage:
    """Layers that are quantised together: none of them reads what another one made.

    Attributes:
        patterns: their names in the block, numbers as stars.
        sets: their names in the block, those that read the very same input together.
    """

    patterns: tuple[str, ...]
    sets: tuple[tuple[str, ...], ...]

    @property
    def names(self) -> tuple[str, ...]:
        """All its layers' names in the block."""
        return tuple(name for names in self.sets for name in names)

    @property
    def repeats(self) -> bool:
        """Whether its layers are called one expert after another."""
        return any("*" in pattern for pattern in self.patterns)


class _Reached(Exception):
    """A pass has come as far as it has to."""


def trace(block: nn.Module, names: Sequence[str], runs: Sequence[Callable[[], Any]]) -> list[Stage]:
    """Return the layers of a block in stages, in the order in which they run.

    Layers that read one tensor are one stage. Experts run one after another and see tokens of
    their own; layers of one role, such as every expert's down_proj, are one stage. Layers that no
    run calls are left out.

    Args:
        block: the block.
        names: of its layers, in the block.
        runs: forward passes of the block, tried until every role was seen.
    """
    wanted = {pattern_of(f".{name}.") for name in names}
    order: list[list[str]] = []
    for run in runs:
        seen = {pattern for group in order for pattern in group}
        for group in _traced(block, names, run):
            fresh = [pattern for pattern in group if pattern not in seen]
            if fresh:
                order.append(fresh)
                seen.update(fresh)
        if seen >= wanted:
            break
    return [_stage(group, names) for group in order]


def _stage(group: Sequence[str], names: Sequence[str]) -> Stage:
    sets: dict[tuple[str, ...], list[str]] = {}
    for name in names:
        if pattern_of(f".{name}.") in group:
            # Within one role's layers only those of the same expert share their input.
            numbers = tuple(part for part in name.split(".") if part.isdigit())
            sets.setdefault(numbers, []).append(name)
    patterns = tuple(pattern.strip(".") for pattern in group)
    return Stage(patterns, tuple(map(tuple, sets.values())))


def behind(stages: Sequence[Stage], index: int) -> tuple[str, ...]:
    """Return the layers that a pass need not get to for a stage's inputs.

    Of experts the last is not known, so that what comes behind the first ends nothing.
    """
    later = stages[index + 1 :]
    if stages[index].repeats:
        later = [stage for stage in later if not stage.repeats]
    return tuple(name for stage in later for name in stage.names)


def _traced(block: nn.Module, names: Sequence[str], run: Callable[[], Any]) -> list[list[str]]:
    """Return the roles of the layers in one run, those with the same input together."""
    # Tensors are held so that none takes the address of another.
    inputs: list[Tensor] = []
    groups: list[list[str]] = []

    def listen(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...]) -> None:
            pattern = pattern_of(f".{name}.")
            for held, group in zip(inputs, groups, strict=True):
                if same_memory(held, args[0]):
                    if pattern not in group:
                        group.append(pattern)
                    return
            inputs.append(args[0])
            groups.append([pattern])

        return hook

    with _hooked({name: listen(name) for name in names}, block):
        run()
    return groups


def same_memory(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are one piece of memory, read alike."""
    return (
        one.data_ptr() == other.data_ptr()
        and one.numel() == other.numel()
        and one.shape[-1] == other.shape[-1]
        and one.stride()[-1] == other.stride()[-1]
    )


@contextlib.contextmanager
def _hooked(hooks: Mapping[str, Callable[..., None]], block: nn.Module) -> Iterator[None]:
    handles = [
        block.get_submodule(name).register_forward_pre_hook(hook) for name, hook in hooks.items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def gather(
    block: nn.Module,
    takers: Mapping[str, Callable[[Tensor], None]],
    until: Sequence[str],
    run: Callable[[], Any],
    *,
    calls: int = 0,
) -> None:
    """Run a block and hand the inputs [..., I] of some of its layers on.

    Args:
        block: the block.
        takers: what takes a layer's inputs, by its name in the block.
        until: the run ends as soon as one of these layers is reached; empty to run to the end.
        run: the forward pass.
        calls: inputs after which the run ends; 0 if it is not known how many there are.
    """
    taken = 0

    def stop(module: nn.Module, args: tuple[Any, ...]) -> None:
        raise _Reached

    def listen(take: Callable[[Tensor], None]) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...]) -> None:
            nonlocal taken
            take(args[0])
            taken += 1
            if taken == calls:
                raise _Reached

        return hook

    hooks = {name: listen(take) for name, take in takers.items()}
    with _hooked(hooks | dict.fromkeys(until, stop), block), contextlib.suppress(_Reached):
        run()
