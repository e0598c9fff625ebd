"""One optimizer step: gradients of all micro-batches and processes, divided once, clipped."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from swiftrl.rlhf.optim import LossScale
from swiftrl.rlhf.order import MicroBatch
from swiftrl.rlhf.parallel.base import Trained
from swiftrl.rlhf.steps import Passes, Sums

__all__ = ["StepOutcome", "Stepper"]


@dataclass(frozen=True, slots=True)
class StepOutcome:
    """What a step did; the same in every process, but for `sums`.

    Attributes:
        sums: this process's share of loss and metrics.
        loss: of the whole step; not a number if nothing was counted.
        norm: of the gradient, before clipping.
        rows: of the whole step.
        tokens: run through the model, without padding, in the whole step.
        updated: False if loss or gradient was not finite, so that no weight changed.
        explained: the reason was the loss scale, which has been lowered.
        stop: some process was asked to stop.
    """

    sums: Sums
    loss: float
    norm: float
    rows: int
    tokens: int
    updated: bool
    explained: bool
    stop: bool


class Stepper:
    """Does optimizer steps.

    Args:
        passes: forward and backward.
        trained: what trains.
        loss_scale: factor on the loss.
        max_norm: the gradient is clipped to it; 0 for no clipping.
    """

    def __init__(
        self, passes: Passes, trained: Trained, loss_scale: LossScale, max_norm: float
    ) -> None:
        self.passes, self.trained, self.loss_scale = passes, trained, loss_scale
        self.max_norm = max_norm

    def step(
        self, batches: Sequence[MicroBatch], *, rate: float, stop: bool = False
    ) -> StepOutcome:
        """Train on one step's rows.

        Args:
            batches: this process's share; may be empty.
            rate: learning rate.
            stop: whether this process was asked to stop.
        """
        processes = self.passes.processes
        self.trained.clear()
        processes.at("forward and backward")
        sums = self.passes.train(batches, self.trained, self.loss_scale.value)
        processes.at("the gradient sum")
        total, count = sums.values.get("loss", (0.0, 0.0))
        tokens = sum(micro.batch.token_ids.numel() for micro in batches)
        rows = sum(micro.num_rows for micro in batches)
        total, count, tokens, rows, stops = processes.sum([total, count, tokens, rows, float(stop)])
        norm = math.nan
        if count > 0:
            with processes.together():
                norm = self.trained.step(
                    1.0 / (count * self.loss_scale.value),
                    rate=rate,
                    max_norm=self.max_norm,
                    update=math.isfinite(total),
                )
        updated = math.isfinite(norm) and math.isfinite(total)
        return StepOutcome(
            sums=sums,
            loss=total / count if count else math.nan,
            norm=norm,
            rows=int(rows),
            tokens=int(tokens),
            updated=updated,
            explained=self.loss_scale.update(updated),
            stop=stops > 0,
        )
