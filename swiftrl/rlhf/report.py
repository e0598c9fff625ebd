"""What a run tells: metrics, progress, curves, and the table at its end. Main process only."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from swiftrl.core import log
from swiftrl.rlhf.config import TrainConfig
from swiftrl.rlhf.distributed import Processes
from swiftrl.rlhf.plots import HELD_OUT, draw_curves
from swiftrl.rlhf.reporting import MetricsFile, Tracker, open_trackers
from swiftrl.rlhf.run_state import Plan, RunState

__all__ = ["Report"]

DRAW_EVERY_S = 60.0
SHOWN = (
    "loss", "reward", "reward_std", "kl", "completions/mean_length", "rewards/accuracies",
    "rewards/margins", "nll_loss", "grad_norm", "learning_rate", "tokens_per_s",
)  # fmt: skip
"""Metrics of the line that is printed; metrics.jsonl has them all."""


class Report:
    """Everything a run writes for people.

    Args:
        config: settings of training.
        folder: of the run.
        processes: those of the run; only the main one writes.
        settings: every setting, for trackers.
        plan: the length of the run.
    """

    def __init__(
        self,
        config: TrainConfig,
        folder: Path,
        processes: Processes,
        settings: Mapping[str, Any],
        plan: Plan,
    ) -> None:
        self.config, self.folder, self.plan, self.settings = config, folder, plan, settings
        self.active = processes.is_main
        self.metrics: MetricsFile | None = None
        self.trackers: list[Tracker] = []
        self._progress: log.Progress | None = None
        self._note = ""
        self._drawn = time.monotonic()

    def open(self, state: RunState) -> None:
        """Open files and trackers, at the step where the run starts or goes on.

        Raises:
            ConfigError: a tracker's package is not installed.
        """
        if not self.active:
            return
        self.metrics = MetricsFile(self.folder / "metrics.jsonl", state.step or None)
        self.trackers = open_trackers(
            self.config.report_to,
            folder=self.folder,
            run_name=self.config.run_name,
            settings=self.settings,
            step=state.step,
        )
        self._progress = log.Progress("training", self.plan.total_steps, start=state.step)

    def progress(self, state: RunState, loss: float) -> None:
        """Show that a step is done."""
        if self._progress is not None:
            self._progress.update(state.step, f"loss {loss:.4f}{self._note}")

    def training(self, state: RunState, means: Mapping[str, float], rate: float) -> None:
        """Write the metrics of the steps since the last time.

        Args:
            state: counters.
            means: metrics by name.
            rate: learning rate of the latest step.
        """
        seconds, rows, tokens = state.window
        speed = {
            "tokens_per_s": round(tokens / seconds, 1) if seconds else 0.0,
            "samples_per_s": round(rows / seconds, 3) if seconds else 0.0,
        }
        values = {**means, "learning_rate": rate, **speed}
        if state.skipped_steps:
            values["skipped_steps"] = float(state.skipped_steps)
        self._write(state, values)
        self._show(state, values, "training")

    def held_out(self, state: RunState, means: Mapping[str, float]) -> None:
        """Write the metrics of an evaluation."""
        self._write(state, {f"{HELD_OUT}{name}": value for name, value in means.items()})
        self._show(state, means, "held-out")
        if "loss" in means:
            self._note = f", held-out loss {means['loss']:.4f}"

    def draw(self) -> None:
        """Draw the curves, unless that was done a moment ago."""
        if self.metrics is not None and time.monotonic() - self._drawn > DRAW_EVERY_S:
            draw_curves(self.metrics.lines, self.folder / "images")
            self._drawn = time.monotonic()

    def finish(self, state: RunState, *, complete: bool) -> list[Path]:
        """Draw the curves and show the held-out metrics before and after.

        Returns:
            the images.
        """
        if self.metrics is None:
            return []
        if self._progress is not None:
            self._progress.close()
            self._progress = None
        if complete:
            _show_held_out(state)
        return draw_curves(self.metrics.lines, self.folder / "images")

    def _show(self, state: RunState, values: Mapping[str, float], title: str) -> None:
        """Print a line of metrics, the main ones first."""
        if not self.active:
            return
        shown = [name for name in SHOWN if name in values]
        numbers = "  ".join(f"{name.split('/')[-1]} {values[name]:.4g}" for name in shown)
        log.info(f"step {state.step}/{self.plan.total_steps} {title}: {numbers}")

    def close(self) -> None:
        """Close trackers."""
        for tracker in self.trackers:
            tracker.close()
        self.trackers = []

    def _write(self, state: RunState, values: Mapping[str, float]) -> None:
        if self.metrics is None:
            return
        epoch = round(self.plan.epoch_of(state.rows), 4)
        self.metrics.add(
            {"step": state.step, "epoch": epoch, **values, "elapsed_s": round(state.elapsed_s, 3)}
        )
        for tracker in self.trackers:
            tracker.log(state.step, values)


def _show_held_out(state: RunState) -> None:
    shown = {
        name: state.held_out[name] for name in ("before", "best", "last") if name in state.held_out
    }
    if "best" in shown and shown["best"][0] == shown.get("last", (None,))[0]:
        del shown["best"]
    if not shown:
        return
    metrics = sorted({metric for _, means in shown.values() for metric in means})
    titles = [f"{name} (step {step})" for name, (step, _) in shown.items()]
    log.table(
        "Held-out metrics",
        ["metric", *titles],
        [
            [
                metric,
                *(f"{means[metric]:.4f}" if metric in means else "" for _, means in shown.values()),
            ]
            for metric in metrics
        ],
    )
