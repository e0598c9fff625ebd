"""The model as it was, run beside the one in work: what each layer's input would have been.

A layer's weight can then make good what the layers before it lost (GPTAQ, arXiv:2504.02692).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from swiftrl.export.capture import Calls, run_block
from swiftrl.export.config import QuantConfig
from swiftrl.export.method import Plan
from swiftrl.export.stages import gather

__all__ = ["Beside", "follows_original"]

Inputs = dict[str, list[Tensor]]
"""A layer's inputs [N, I], call by call, by its name in the block."""


def follows_original(plan: Plan, config: QuantConfig) -> bool:
    """Return whether layers are to make good what those before them lost."""
    method = plan.method
    one_by_one = config.true_sequential and not method.scales_inputs
    return config.gptaq and method.reads_inputs and one_by_one


_ROOM_BYTES = 2 * 2**30
"""For inputs of one block's layers, so that its original runs once a pass, not once a stage."""


class Beside:
    """One block as it was, and the hidden states that blocks as they were make.

    Args:
        hidden: what the first block is given in each pass.
        room: bytes that a block's inputs may take up in all passes together.
    """

    def __init__(self, hidden: Sequence[Tensor | None], room: int = _ROOM_BYTES) -> None:
        self._hidden = list(hidden)
        self._room = room
        self._block: nn.Module = nn.Identity()
        self._runs: list[Callable[[], Tensor]] = []
        self._kept: list[tuple[Inputs, Tensor]] | None = None

    def take(
        self, block: nn.Module, index: int, calls: Sequence[Calls], device: torch.device
    ) -> None:
        """Copy a block before it changes."""
        self._block = copy.deepcopy(block)
        self._runs = [
            partial(run_block, self._block, index, call, hidden, device)
            for call, hidden in zip(calls, self._hidden, strict=True)
            if hidden is not None
        ]
        self._kept = None

    def advance(self, keep: torch.device) -> None:
        """Go on to the next block; hidden states lie on `keep`."""
        made = [output for _, output in self._kept] if self._kept else (run() for run in self._runs)
        self._hidden = [output.to(keep) for output in made]
        self._block, self._runs, self._kept = nn.Identity(), [], None

    def takers(
        self, number: int, takers: Mapping[str, Callable[..., Any]], until: Sequence[str]
    ) -> dict[str, Callable[[Tensor], Any]]:
        """Return `takers` that are given the original's inputs of a pass too.

        Args:
            number: of the pass.
            takers: what takes inputs and, by name, `original` ones.
            until: layers at which the pass may end.
        """
        if self._kept is None:
            self._kept = self._all_inputs()
        if self._kept:
            inputs = self._kept[number][0]
        else:
            inputs = {name: [] for name in takers}
            _gather_into(inputs, self._block, until, self._runs[number])

        def with_original(name: str) -> Callable[[Tensor], Any]:
            return lambda given: takers[name](given, original=inputs[name].pop(0))

        return {name: with_original(name) for name in takers}

    def _all_inputs(self) -> list[tuple[Inputs, Tensor]]:
        """Return every layer's inputs and the block's output in each pass; none without room."""
        names = [
            name for name, module in self._block.named_modules() if isinstance(module, nn.Linear)
        ]
        found: list[tuple[Inputs, Tensor]] = []
        for run in self._runs:
            inputs: Inputs = {name: [] for name in names}
            outputs: list[Tensor] = []
            _gather_into(inputs, self._block, (), lambda to=outputs, run=run: to.append(run()))
            found.append((inputs, outputs[0]))
            if _bytes(inputs) * len(self._runs) > self._room:
                return []
        return found


def _gather_into(
    inputs: Inputs, block: nn.Module, until: Sequence[str], run: Callable[[], Any]
) -> None:
    gather(block, {name: kept.append for name, kept in inputs.items()}, until, run)


def _bytes(inputs: Inputs) -> int:
    """Return how much memory inputs take up, those of several layers counted once."""
    parts = [part.untyped_storage() for kept in inputs.values() for part in kept]
    return sum({part.data_ptr(): part.nbytes() for part in parts}.values())
