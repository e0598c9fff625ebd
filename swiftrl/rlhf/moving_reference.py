"""A reference that follows the policy: what trains, with values of some steps ago."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from swiftrl.core.errors import ModelError
from swiftrl.data.batch import TreeBatch
from swiftrl.rlhf.reference import evaluating
from swiftrl.rlhf.scoring import Scorer

__all__ = ["MovingReference"]


class MovingReference:
    """The trained model with other values of what trains: TR-DPO's reference (arXiv:2404.09656).

    Starts as the model was before training. After every `every` optimizer steps its values become
    alpha times the policy's and 1 - alpha times its own (eqs. 3 and 4; alpha 1 is the hard update).

    Args:
        scorer: runs the trained model.
        every: optimizer steps between updates.
        alpha: share of the policy in an update, in (0, 1].
    """

    def __init__(self, scorer: Scorer, *, every: int, alpha: float) -> None:
        self.scorer, self.every, self.alpha = scorer, every, alpha
        named = scorer.model.named_parameters()
        self._trained: Mapping[str, nn.Parameter] = {n: p for n, p in named if p.requires_grad}
        self._values: dict[str, Tensor] = {}

    def start(self) -> None:
        """Take the present values, unless some were loaded."""
        if not self._values:
            self._values = {name: p.detach().clone() for name, p in self._trained.items()}

    def after_step(self, step: int) -> None:
        """Follow the policy if an update is due after `step` optimizer steps."""
        if step % self.every:
            return
        with torch.no_grad():
            for name, value in self._values.items():
                value.lerp_(self._trained[name].detach(), self.alpha)

    def __call__(self, batch: TreeBatch) -> Tensor:
        """Return [N] float32, nats."""
        self.start()
        with self._switched(), evaluating(self.scorer.model):
            return self.scorer(batch).logps

    @contextlib.contextmanager
    def _switched(self) -> Iterator[None]:
        """Turn the model into the reference for a while; nothing is copied."""
        mine = {name: parameter.data for name, parameter in self._trained.items()}
        for name, value in self._values.items():
            self._trained[name].data = value
        try:
            yield
        finally:
            for name, value in mine.items():
                self._trained[name].data = value

    def state(self) -> Mapping[str, Tensor]:
        """Return the values by name, float32."""
        self.start()
        return self._values

    def load(self, values: Mapping[str, Tensor]) -> None:
        """Take back what `state` gave.

        Raises:
            ModelError: it is of another model.
        """
        wrong = values.keys() ^ self._trained.keys()
        if wrong:
            raise ModelError(
                f"the checkpoint's reference has other weights than this run trains: "
                f"{', '.join(sorted(wrong)[:3])} ({len(wrong)} in all)."
            )
        self._values = {
            name: value.to(self._trained[name].device, copy=True) for name, value in values.items()
        }
