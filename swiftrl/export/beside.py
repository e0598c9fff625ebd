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
from swiftrl.export.method import Plan, one_by_one
from swiftrl.export.replay import ROOM_BYTES
from swiftrl.export.stages import gather

__all__ = ["Beside", "follows_original"]

Inputs = dict[str, list[Tensor]]
"""A layer's inputs [..., I], call by call, by its name in the block."""


def follows_original(plan: Plan, config: QuantConfig) -> bool:
    """Return whether layers are to make good what those before them lost."""
    return config.gptaq and one_by_one(plan, config)


class Beside:
    """One block as it was, and the hidden states that blocks as they were make.

    Args:
        hidden: what the first block is given in each pass.
        keep: where hidden states lie between blocks.
        room: bytes that a block's inputs may take up in all passes together, so that its original
            runs once a pass and not once a stage.
    """

    def __init__(
        self, hidden: Sequence[Tensor | None], keep: torch.device, room: int = ROOM_BYTES
    ) -> None:
        self._hidden = list(hidden)
        self._keep, self._room = keep, room
        self._block: nn.Module = nn.Identity()
        self._calls: list[Callable[[nn.Module], Tensor]] = []
        self._outputs: list[Tensor] = []
        self._inputs: list[Inputs] | None = None

    def take(
        self, block: nn.Module, index: int, calls: Sequence[Calls], device: torch.device
    ) -> None:
        """Copy a block before it changes."""
        self._block = copy.deepcopy(block)
        self._calls = [
            partial(run_block, index=index, calls=call, hidden=hidden, device=device)
            for call, hidden in zip(calls, self._hidden, strict=True)
            if hidden is not None
        ]
        self._outputs, self._inputs = [], None

    def observe(self, takers: Mapping[str, Callable[[Tensor], None]]) -> None:
        """Run the original block and hand inputs of its layers on."""
        self._outputs = []
        for call in self._calls:
            gather(self._block, takers, (), lambda call=call: self._run(call))

    def take_scaled(self, block: nn.Module) -> None:
        """Copy a block that computes what it did with scaled inputs; `observe` was called."""
        self._block, self._inputs = copy.deepcopy(block), None

    def advance(self) -> None:
        """Go on to the next block."""
        if len(self._outputs) < len(self._calls):
            self._outputs = []
            for call in self._calls:
                self._run(call)
        self._hidden = list(self._outputs)
        self._block, self._calls = nn.Identity(), []
        self._outputs, self._inputs = [], None

    def _run(self, call: Callable[[nn.Module], Tensor]) -> None:
        self._outputs.append(call(self._block).to(self._keep))

    def takers(
        self, number: int, takers: Mapping[str, Callable[..., Any]], until: Sequence[str]
    ) -> dict[str, Callable[[Tensor], Any]]:
        """Return `takers` that are given the original's inputs of a pass too.

        Args:
            number: of the pass.
            takers: what takes inputs and, by name, `original` ones.
            until: layers at which the pass may end.
        """
        if self._inputs is None:
            self._inputs = self._all_inputs()
        if self._inputs:
            inputs = self._inputs[number]
        else:
            inputs = {name: [] for name in takers}
            _gather_into(inputs, self._block, until, partial(self._calls[number], self._block))

        def with_original(name: str) -> Callable[[Tensor], Any]:
            return lambda given: takers[name](given, original=inputs[name].pop(0))

        return {name: with_original(name) for name in takers}

    def _all_inputs(self) -> list[Inputs]:
        """Return every layer's inputs in each pass, none without room; outputs are kept too."""
        names = [
            name for name, module in self._block.named_modules() if isinstance(module, nn.Linear)
        ]
        known = len(self._outputs) == len(self._calls)
        found: list[Inputs] = []
        for call in self._calls:
            inputs: Inputs = {name: [] for name in names}
            run = partial(call, self._block) if known else partial(self._run, call)
            _gather_into(inputs, self._block, (), run)
            found.append(inputs)
            if _bytes(inputs) * len(self._calls) > self._room:
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
