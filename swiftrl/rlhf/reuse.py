"""How often replies are trained on: several optimizer steps, and several passes over them.

A rollout answers a block of prompts. Rows are counted as they are trained on, a prompt once in
every pass, so that the stream of rows is block after block, each as often as there are passes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["ONCE", "Reuse", "Update"]


@dataclass(frozen=True, slots=True)
class Update:
    """An optimizer step within a block: its prompts [start, stop), in one of the passes."""

    iteration: int
    start: int
    stop: int

    @property
    def rows(self) -> int:
        """How many prompts it trains on."""
        return self.stop - self.start


@dataclass(frozen=True, slots=True)
class Reuse:
    """How a rollout is used.

    Attributes:
        iterations: passes over its replies.
        steps: optimizer steps of a pass.
    """

    iterations: int = 1
    steps: int = 1

    @property
    def updates(self) -> int:
        """Optimizer steps of a rollout."""
        return self.iterations * self.steps

    def updates_of(self, prompts: int, global_batch: int) -> list[Update]:
        """Return the optimizer steps on a block; the last of a pass may be smaller.

        Args:
            prompts: of the block.
            global_batch: prompts of an optimizer step.
        """
        return [
            Update(iteration, start, min(start + global_batch, prompts))
            for iteration in range(self.iterations)
            for start in range(0, prompts, global_batch)
        ]

    def steps_left(self, rows: int, global_batch: int, begun: list[Update] | None = None) -> int:
        """Return the optimizer steps that so many rows make.

        Args:
            rows: left of the stream.
            global_batch: prompts of an optimizer step.
            begun: steps left of a block that is trained on at present.
        """
        begun = begun or []
        prompts = (rows - sum(update.rows for update in begun)) // self.iterations
        blocks, rest = divmod(max(prompts, 0), self.steps * global_batch)
        return len(begun) + blocks * self.updates + self.iterations * math.ceil(rest / global_batch)


ONCE = Reuse()
"""Every reply is trained on once, by the weights that wrote it."""
