"""Evaluation on held-out rows, and which evaluation was the best."""

from __future__ import annotations

from collections.abc import Callable

from swiftrl.core.errors import ConfigError
from swiftrl.core.registry import did_you_mean
from swiftrl.rlhf.config import TrainConfig
from swiftrl.rlhf.order import Feed, Rows
from swiftrl.rlhf.plots import HELD_OUT
from swiftrl.rlhf.run_state import RunState
from swiftrl.rlhf.steps import Passes, Sums, merged

__all__ = ["Evaluation", "Measure", "held_out_loss"]

Measure = Callable[[], dict[str, float]]
"""Gives the held-out metrics, the same in every process."""


def held_out_loss(
    passes: Passes, data: Rows | None, config: TrainConfig, global_batch: int
) -> Measure | None:
    """Return what runs the algorithm's loss and metrics over the held-out rows, if there are any.

    Args:
        passes: the policy and the algorithm.
        data: held-out rows, or None.
        config: settings.
        global_batch: rows that a coupled or estimating loss sees at once, as in training.
    """
    if data is None or not len(data):
        return None
    per_pass = config.per_device_eval_batch_size or config.per_device_train_batch_size
    processes = passes.processes
    algorithm = passes.algorithm
    whole = algorithm.coupled or algorithm.estimates
    group = global_batch if whole else per_pass * processes.replicas

    def measure() -> dict[str, float]:
        """Return each metric over all held-out rows and processes, divided once."""
        feed = Feed(
            data,
            seed=0,
            shuffle=False,
            micro_batch_size=per_pass,
            rank=processes.replica,
            world_size=processes.replicas,
            contrast=algorithm.estimates,
        )
        mine = Sums()
        for batches in feed.steps(0, len(data), group):
            mine.add(passes.evaluate(batches).values)
        return merged(processes.gather(mine.values)).means()

    return measure


class Evaluation:
    """Runs evaluations and knows which was the best.

    Args:
        measure: gives the held-out metrics; None where nothing is held out.
        config: settings.
    """

    def __init__(self, measure: Measure | None, config: TrainConfig) -> None:
        self.config = config
        self.wanted = measure is not None and (config.eval_strategy or "steps") != "no"
        self._measure = measure

    def run(self) -> dict[str, float]:
        """Return the held-out metrics."""
        assert self._measure is not None
        return self._measure()

    def judge(self, state: RunState, means: dict[str, float]) -> bool:
        """Enter an evaluation into the state.

        The one before the first step is what the others are compared with, never the best.

        Returns:
            whether it is a new best.

        Raises:
            ConfigError: --metric_for_best_model is not among the metrics.
        """
        wanted = self.config.metric_for_best_model.removeprefix(HELD_OUT)
        if wanted not in means:
            raise ConfigError(
                f"--metric_for_best_model {wanted}: the held-out metrics are "
                f"{', '.join(sorted(means))}.{did_you_mean(wanted, sorted(means))}"
            )
        state.held_out["last"] = (state.step, means)
        if state.step == 0:
            state.held_out["before"] = (0, means)
            return False
        value = means[wanted]
        if not self._better(value, state.best_value, wanted):
            state.stale_evaluations += 1
            return False
        state.best_step, state.best_value, state.stale_evaluations = state.step, value, 0
        state.held_out["best"] = (state.step, means)
        return True

    def _better(self, value: float, best: float | None, name: str) -> bool:
        if value != value:
            return False
        if best is None:
            return True
        greater = self.config.greater_is_better
        if greater is None:
            greater = not name.endswith(("loss", "perplexity"))
        return value > best if greater else value < best
