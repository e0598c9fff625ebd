"""Learning rates as pure functions of the step: nothing to save, nothing to drift."""

from __future__ import annotations

import math
from dataclasses import dataclass

from swiftrl.core.errors import ConfigError
from swiftrl.rlhf.config import TrainConfig

__all__ = ["Schedule", "make_schedule"]

WSD_DECAY_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class Schedule:
    """The learning rate of every optimizer step.

    Attributes:
        shape: cosine, linear, constant, cosine_with_min_lr or wsd (warm-up, stable, decay).
        peak: learning rate after warm-up.
        warmup_steps: steps in which it rises from 0, linearly.
        total_steps: where it ends.
        min_ratio: last rate over `peak`, for cosine_with_min_lr.
    """

    shape: str
    peak: float
    warmup_steps: int
    total_steps: int
    min_ratio: float = 0.0

    def at(self, step: int) -> float:
        """Return the rate of optimizer step `step`, counted from 0."""
        if step < self.warmup_steps:
            return self.peak * (step + 1) / (self.warmup_steps + 1)
        span = max(self.total_steps - self.warmup_steps, 1)
        progress = min((step - self.warmup_steps) / span, 1.0)
        return self.peak * self._factor(progress)

    def _factor(self, progress: float) -> float:
        cosine = 0.5 * (1 + math.cos(math.pi * progress))
        if self.shape == "cosine":
            return cosine
        if self.shape == "cosine_with_min_lr":
            return self.min_ratio + (1 - self.min_ratio) * cosine
        if self.shape == "linear":
            return 1 - progress
        if self.shape == "wsd":
            return min(1.0, (1 - progress) / WSD_DECAY_SHARE)
        assert self.shape == "constant", self.shape
        return 1.0


def make_schedule(config: TrainConfig, *, peak: float, total_steps: int) -> Schedule:
    """Return the schedule that the settings ask for.

    Raises:
        ConfigError: warm-up that does not fit into the run.
    """
    if not 0 <= config.warmup_ratio <= 1:
        raise ConfigError(
            f"--warmup_ratio: found {config.warmup_ratio}; expected a share of the steps, 0 to 1."
        )
    warmup = config.warmup_steps or math.ceil(config.warmup_ratio * total_steps)
    if config.warmup_steps < 0 or config.warmup_steps > total_steps:
        raise ConfigError(
            f"--warmup_steps: found {config.warmup_steps}; the run has {total_steps} steps. "
            "Use fewer, or --warmup_ratio."
        )
    return Schedule(
        config.lr_scheduler_type, peak, warmup, total_steps, min_ratio=config.min_lr_ratio
    )
