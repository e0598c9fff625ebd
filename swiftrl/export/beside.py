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


def follows_original(plan: Plan, config: QuantConfig) -> bool:
    """Return whether layers are to make good what those before them lost."""
    method = plan.method
    one_by_one = config.true_sequential and not method.scales_inputs
    return config.gptaq and method.reads_inputs and one_by_one


class Beside:
    """One block as it was, and the hidden states that blocks as they were make.

    Args:
        hidden: what the first block is given in each pass.
    """

    def __init__(self, hidden: Sequence[Tensor | None]) -> None:
        self._hidden = list(hidden)
        self._block: nn.Module | None = None
        self._runs: list[Callable[[], Tensor]] = []

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

    def advance(self, keep: torch.device) -> None:
        """Go on to the next block; hidden states lie on `keep`."""
        self._hidden = [run().to(keep) for run in self._runs]
        self._block, self._runs = None, []

    def takers(
        self, number: int, takers: Mapping[str, Callable[..., Any]], until: Sequence[str]
    ) -> dict[str, Callable[[Tensor], Any]]:
        """Return `takers` that are given the original's inputs of a pass too.

        Args:
            number: of the pass.
            takers: what takes inputs and, by name, `original` ones.
            until: layers at which the pass may end.
        """
        assert self._block is not None
        inputs: dict[str, list[Tensor]] = {name: [] for name in takers}
        keeping = {name: kept.append for name, kept in inputs.items()}
        gather(self._block, keeping, until, self._runs[number])

        def with_original(name: str) -> Callable[[Tensor], Any]:
            return lambda given: takers[name](given, original=inputs[name].pop(0))

        return {name: with_original(name) for name in takers}
