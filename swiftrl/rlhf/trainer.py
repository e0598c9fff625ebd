"""The training loop: one for every algorithm, blind to which it is."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from swiftrl.backends.base import Backend
from swiftrl.core import log
from swiftrl.core.errors import DataError, MachineError
from swiftrl.rlhf.algorithm import Algorithm
from swiftrl.rlhf.config import TrainConfig
from swiftrl.rlhf.distributed import Processes
from swiftrl.rlhf.evaluation import Evaluation
from swiftrl.rlhf.model_files import is_adapter
from swiftrl.rlhf.optim import LossScale, make_optimizer, scale_and_clip, trainable_parameters
from swiftrl.rlhf.order import Feed, MicroBatch, Rows
from swiftrl.rlhf.report import Report
from swiftrl.rlhf.run_folder import RunFolder
from swiftrl.rlhf.run_state import RunState, make_plan
from swiftrl.rlhf.saving import Saver
from swiftrl.rlhf.schedule import make_schedule
from swiftrl.rlhf.steps import Passes, PolicyLike, Sums
from swiftrl.rlhf.stopping import StopSignals

__all__ = ["TrainResult", "Trainer", "default_learning_rate"]

MAX_BAD_STEPS = 5


def default_learning_rate(adapter: bool) -> float:
    """Return the peak learning rate where none is set."""
    return 1e-4 if adapter else 1e-5


@dataclass(frozen=True, slots=True)
class TrainResult:
    """How a run ended.

    Attributes:
        run_folder: where everything is.
        checkpoint: the one to use: the best one with --load_best_model_at_end, else the last.
        best_checkpoint: the one whose held-out metric was best, if that was saved.
        state: the counters.
        stopped_by: name of the signal that ended the run early, else None.
        images: curves.
    """

    run_folder: Path
    checkpoint: Path | None
    best_checkpoint: Path | None
    state: RunState
    stopped_by: str | None
    images: tuple[Path, ...]


class Trainer:
    """Trains a policy.

    Args:
        policy: gives log-probabilities; its trainable weights are widened to float32.
        algorithm: the loss.
        train_data: encoded rows by number, or an iterable of them (streaming).
        eval_data: held-out rows; None or empty for no evaluation.
        config: settings of training.
        run_folder: from `prepare_run_folder`.
        processes: those of the run.
        backend: the hardware.
        settings: every setting of the run, saved with checkpoints.
        companions: tokenizer and processor, saved with the model.
        compute_dtype: of the forward pass, and of a full model's saved weights.
        shuffle: whether to permute the rows each epoch.
        data_seed: of the permutations; None for config.seed.
    """

    def __init__(
        self,
        policy: PolicyLike,
        algorithm: Algorithm,
        train_data: Rows | Iterable[Any],
        eval_data: Rows | None,
        config: TrainConfig,
        *,
        run_folder: RunFolder,
        processes: Processes,
        backend: Backend,
        settings: Mapping[str, Any] | None = None,
        companions: Sequence[Any] = (),
        compute_dtype: torch.dtype = torch.bfloat16,
        shuffle: bool = True,
        data_seed: int | None = None,
    ) -> None:
        self.policy, self.config, self.processes = policy, config, processes
        self.parameters = trainable_parameters(policy.model)
        self.optimizer = make_optimizer(
            self.parameters, config, fused=backend.capabilities.fused_adamw
        )
        self.loss_scale = LossScale(compute_dtype)
        self.passes = Passes(policy, algorithm, processes, config.seed)
        self.state, self.window = RunState(), Sums()
        self.feed = Feed(
            train_data,
            seed=config.seed if data_seed is None else data_seed,
            shuffle=shuffle,
            micro_batch_size=config.per_device_train_batch_size,
            rank=processes.rank,
            world_size=processes.world_size,
            pin=hasattr(backend.module(), "memory_allocated"),
        )
        self.saver = Saver(self, run_folder, algorithm, settings or {}, companions, compute_dtype)
        self.saver.restore()
        evaluates = bool(eval_data is not None and len(eval_data))
        self.plan = make_plan(
            config,
            num_rows=self.feed.num_rows,
            world_size=processes.world_size,
            evaluates=evaluates,
            done_steps=self.state.step,
            done_rows=self.state.rows,
        )
        self.saver.check_plan(self.plan)
        self.schedule = make_schedule(
            config,
            peak=config.learning_rate or default_learning_rate(is_adapter(policy.model)),
            total_steps=self.plan.total_steps,
        )
        self.evaluation = Evaluation(self.passes, eval_data, config, self.plan.global_batch)
        self.report = Report(config, run_folder.path, processes, settings or {}, self.plan)

    def train(self) -> TrainResult:
        """Run to the end, or until a signal or early stopping.

        Raises:
            MachineError: no memory or space left, or another process was lost.
            DataError: gradients that stay non-finite.
            ConfigError: nothing left to train, or a metric that does not exist.
        """
        if self.config.deterministic:
            torch.use_deterministic_algorithms(True)
        try:
            with StopSignals() as signals:
                return self._train(signals)
        except torch.OutOfMemoryError as error:
            raise MachineError(
                f"out of device memory after step {self.state.step}: {str(error).splitlines()[0]} "
                "Lower --per_device_train_batch_size (and raise --gradient_accumulation_steps), "
                "turn on --gradient_checkpointing, or lower --max_length."
            ) from error
        finally:
            self.report.close()

    def _train(self, signals: StopSignals) -> TrainResult:
        self.processes.copy_from_main(self.parameters.values())
        self.report.open(self.state)
        if self.evaluation.wanted and self.config.eval_on_start and self.state.step == 0:
            self._evaluate()
        stopped_by = None
        for batches in self.feed.steps(
            self.state.rows, self.plan.total_rows, self.plan.global_batch
        ):
            step_rows, stop = self._step(batches, signals)
            if stop:
                stopped_by = signals.received or "SIGTERM"
            if self._after_step(step_rows, stopping=stop) or stop:
                break
        return self._finish(stopped_by)

    def _step(self, batches: list[MicroBatch], signals: StopSignals) -> tuple[int, bool]:
        """Do one optimizer step.

        Returns:
            rows of the step, and whether some process was asked to stop.
        """
        began = time.monotonic()
        self.optimizer.zero_grad(set_to_none=True)
        sums = self.passes.train(batches, self.loss_scale.value)
        total, count = sums.values.get("loss", (0.0, 0.0))
        tokens = sum(micro.batch.token_ids.numel() for micro in batches)
        rows = sum(micro.num_rows for micro in batches)
        total, count, tokens, rows, stop = self.processes.sum(
            [total, count, tokens, rows, float(signals.received is not None)]
        )
        parameters = list(self.parameters.values())
        self.processes.sum_gradients(parameters)
        norm = math.nan
        if count > 0:
            factor = 1.0 / (count * self.loss_scale.value)
            norm = scale_and_clip(parameters, factor, self.config.max_grad_norm)
        finite = math.isfinite(norm) and math.isfinite(total)
        if finite:
            rate = self.schedule.at(self.state.step)
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            self.optimizer.step()
            self.window.add(sums.values)
            if self.processes.is_main:
                self.window.add({"grad_norm": (norm, 1.0)})
        self._count(finite, batches, int(rows), int(tokens), time.monotonic() - began)
        self.report.progress(self.state, total / count if count else math.nan)
        return int(rows), stop > 0

    def _count(
        self, finite: bool, batches: list[MicroBatch], rows: int, tokens: int, seconds: float
    ) -> None:
        state = self.state
        state.step += 1
        state.rows += rows
        state.tokens += tokens
        state.elapsed_s += seconds
        state.window = [
            old + new for old, new in zip(state.window, (seconds, rows, tokens), strict=True)
        ]
        scaled_down = self.loss_scale.update(finite)
        if finite:
            state.bad_in_a_row = 0
            return
        state.skipped_steps += 1
        if scaled_down:
            return
        state.bad_in_a_row += 1
        mine = [origin for micro in batches for origin in micro.origins]
        origins = [origin for of_rank in self.processes.gather(mine) for origin in of_rank]
        named = ", ".join(origins[:16]) + (", ..." if len(origins) > 16 else "")
        if state.bad_in_a_row >= MAX_BAD_STEPS:
            raise DataError(
                f"step {state.step}: the loss or its gradient was not finite, or nothing was "
                f"trained, in {state.bad_in_a_row} steps in a row. Rows of the last one: {named}. "
                "Look at these rows (swiftrl data check), lower --learning_rate, or use "
                "--torch_dtype float32."
            )
        log.warn(
            f"step {state.step} skipped: loss or gradient not finite, or nothing to train. "
            f"Rows: {named}."
        )

    def _after_step(self, step_rows: int, *, stopping: bool) -> bool:
        """Log, evaluate and save what is due.

        Returns:
            whether early stopping ends the run.
        """
        plan, state = self.plan, self.state
        last = state.step >= plan.total_steps
        if state.step % self.config.logging_steps == 0 or last or state.step == 1:
            self._log()
        exhausted = new_best = False
        due = plan.is_due(plan.eval_every, state, step_rows) or last
        if due and not stopping and self.evaluation.wanted:
            new_best = self._evaluate()
            limit = self.config.early_stop_interval
            exhausted = limit is not None and state.stale_evaluations >= limit
        keeps_best = new_best and self.config.load_best_model_at_end
        if (
            last or stopping or exhausted or keeps_best
            or plan.is_due(plan.save_every, state, step_rows)
        ):  # fmt: skip
            self.saver.save()
            self.report.draw()
        if exhausted:
            log.info(
                f"stopped early at step {state.step}: {state.stale_evaluations} evaluations in a "
                f"row without a better held-out {self.config.metric_for_best_model} than "
                f"{state.best_value:.4g} after step {state.best_step}."
            )
        return exhausted

    def _log(self) -> None:
        totals = Sums()
        for part in self.processes.gather(self.window.values):
            totals.add(part)
        self.report.training(self.state, totals.means(), self.schedule.at(self.state.step - 1))
        self.window = Sums()
        self.state.window = [0.0, 0.0, 0.0]

    def _evaluate(self) -> bool:
        """Evaluate and return whether it is a new best."""
        means = self.evaluation.run()
        new_best = self.evaluation.judge(self.state, means)
        self.report.held_out(self.state, means)
        return new_best

    def _finish(self, stopped_by: str | None) -> TrainResult:
        last = self.saver.last
        best = self.saver.best
        if stopped_by is not None:
            log.info(
                f"{stopped_by}: stopped after step {self.state.step} of {self.plan.total_steps}. "
                f"Go on with --resume_from_checkpoint {last}"
            )
        elif self.config.load_best_model_at_end and best is not None and best != last:
            self.saver.load_trainable(best)
            last = best
        images = self.report.finish(self.state, complete=stopped_by is None)
        return TrainResult(self.saver.run_folder, last, best, self.state, stopped_by, tuple(images))
