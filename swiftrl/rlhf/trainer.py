"""The training loop: one for every algorithm, blind to which it is."""

from __future__ import annotations

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
from swiftrl.rlhf.evaluation import Evaluation, Measure, held_out_loss
from swiftrl.rlhf.model_files import is_adapter
from swiftrl.rlhf.moving_reference import MovingReference
from swiftrl.rlhf.optim import LossScale
from swiftrl.rlhf.order import Feed, MicroBatch, Rows
from swiftrl.rlhf.parallel.base import Parallel
from swiftrl.rlhf.parallel.replicated import Replicated
from swiftrl.rlhf.report import Report
from swiftrl.rlhf.reuse import ONCE
from swiftrl.rlhf.rollouts import Rollouts
from swiftrl.rlhf.run_folder import RunFolder, release_run_folder
from swiftrl.rlhf.run_state import RunState, make_plan
from swiftrl.rlhf.saving import Saver, Training
from swiftrl.rlhf.schedule import make_schedule
from swiftrl.rlhf.stepping import StepOutcome, Stepper
from swiftrl.rlhf.steps import Passes, PolicyLike, Sums
from swiftrl.rlhf.stopping import StopSignals
from swiftrl.rlhf.writing import Rewriting

__all__ = ["TrainResult", "Trainer", "default_learning_rate"]

MAX_BAD_STEPS = 5
NAMED_ROWS = 16


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
        train_data: encoded rows by number, an iterable of them (streaming), or rollouts.
        eval_data: held-out rows, or what measures something else; None or empty for no evaluation.
        config: settings of training.
        run_folder: from `prepare_run_folder`.
        processes: those of the run.
        backend: the hardware.
        parallel: how the policy's model lies over the processes; unset, whole in each.
        settings: every setting of the run, saved with checkpoints.
        companions: tokenizer and processor, saved with the model.
        compute_dtype: of the forward pass, and of a full model's saved weights.
        shuffle: whether to permute the rows each epoch.
        data_seed: of the permutations; None for config.seed.
        moving: the policy's reference if it follows the policy.
        rewriting: has replies written in place of the rows'; None leaves these as they are.
    """

    def __init__(
        self,
        policy: PolicyLike,
        algorithm: Algorithm[Any],
        train_data: Rows | Iterable[Any] | Rollouts,
        eval_data: Rows | Measure | None,
        config: TrainConfig,
        *,
        run_folder: RunFolder,
        processes: Processes,
        backend: Backend,
        parallel: Parallel | None = None,
        settings: Mapping[str, Any] | None = None,
        companions: Sequence[Any] = (),
        compute_dtype: torch.dtype = torch.bfloat16,
        shuffle: bool = True,
        data_seed: int | None = None,
        moving: MovingReference | None = None,
        rewriting: Rewriting | None = None,
    ) -> None:
        self.policy, self.config, self.processes = policy, config, processes
        parallel = parallel or Replicated(processes)
        trained = parallel.train(policy.model, config, fused=backend.capabilities.fused_adamw)
        rollouts = train_data if isinstance(train_data, Rollouts) else None
        self.training = Training(
            policy.model, trained, LossScale(compute_dtype), algorithm, moving, rollouts=rollouts
        )
        self.feed = (
            rollouts
            if rollouts is not None
            else Feed(
                train_data,  # type: ignore[arg-type]
                seed=config.seed if data_seed is None else data_seed,
                shuffle=shuffle,
                micro_batch_size=config.per_device_train_batch_size,
                rank=processes.replica,
                world_size=processes.replicas,
                contrast=algorithm.estimates,
                # A written reply is decided by its row's place, so that rows keep their order.
                dealt=rewriting is None,
            )
        )
        if rewriting is not None:
            assert isinstance(self.feed, Feed)
            self.feed = rewriting.of(self.feed)
        self.saver = Saver(
            self.training,
            run_folder,
            processes,
            config,
            settings=settings or {},
            companions=companions,
            dtype=compute_dtype,
            num_rows=self.feed.num_rows,
            data_fingerprint=self.feed.fingerprint,
        )
        self.saver.restore()
        self.state = self.training.state
        self.plan = make_plan(
            config,
            num_rows=self.feed.num_rows,
            world_size=processes.replicas,
            evaluates=callable(eval_data) or bool(eval_data is not None and len(eval_data)),
            replies=1 if rollouts is None else rollouts.group_size,
            reuse=ONCE if rollouts is None else rollouts.reuse,
            steps_left=ONCE.steps_left if rollouts is None else rollouts.steps_left,
            done_steps=self.state.step,
            done_rows=self.state.rows,
        )
        self.saver.check_plan(self.plan)
        self.schedule = make_schedule(
            config,
            peak=default_learning_rate(is_adapter(policy.model))
            if config.learning_rate is None
            else config.learning_rate,
            total_steps=self.plan.total_steps,
        )
        passes = Passes(policy, algorithm, processes, config.seed, lockstep=parallel.lockstep)
        self.stepper = Stepper(passes, trained, self.training.loss_scale, config.max_grad_norm)
        measure = (
            eval_data
            if callable(eval_data)
            else held_out_loss(passes, eval_data, config, self.plan.global_batch)
        )
        self.evaluation = Evaluation(measure, config)
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
            with StopSignals() as signals, self.processes.stacks_on_signal():
                return self._train(signals)
        except torch.OutOfMemoryError as error:
            raise MachineError(
                f"out of device memory after step {self.state.step}: {str(error).splitlines()[0]} "
                "Lower --per_device_train_batch_size (and raise --gradient_accumulation_steps), "
                "turn on --gradient_checkpointing, or lower --max_length. `swiftrl plan` with the "
                "same flags shows what takes the memory, and what would fit."
            ) from error
        finally:
            self.report.close()
            release_run_folder(self.saver.run_folder)

    def _train(self, signals: StopSignals) -> TrainResult:
        self.training.trained.align()
        self.report.open(self.state)
        if self.evaluation.wanted and self.config.eval_on_start and self.state.step == 0:
            self._evaluate()
        stopped_by = None
        plan = self.plan
        self.processes.at("reading the rows", self.state.step + 1)
        for batches in self.feed.steps(self.state.rows, plan.total_rows, plan.global_batch):
            began = time.monotonic()
            outcome = self.stepper.step(
                batches,
                rate=self.schedule.at(self.state.step),
                stop=signals.received is not None,
            )
            self.state.count(outcome, time.monotonic() - began)
            if self.training.reference is not None:
                self.training.reference.after_step(self.state.step)
            self._note(outcome, batches)
            stopping = outcome.stop and self.state.step < plan.total_steps
            if stopping:
                stopped_by = signals.received or "a signal to another process"
            if self._after_step(outcome.rows, stopping=stopping) or stopping:
                break
            self.processes.at("reading the rows", self.state.step + 1)
        return self._finish(stopped_by)

    def _note(self, outcome: StepOutcome, batches: list[MicroBatch]) -> None:
        """Take up a step's metrics, or say which rows made it fail."""
        self.report.progress(self.state, outcome.loss)
        self.training.window.add(self.feed.take_metrics())
        if outcome.updated:
            self.training.window.add(outcome.sums.values)
            if self.processes.is_main:
                self.training.window.add({"grad_norm": (outcome.norm, 1.0)})
            return
        if outcome.explained:
            return
        mine = [origin for micro in batches for origin in micro.origins]
        origins = [origin for of_rank in self.processes.gather(mine) for origin in of_rank]
        named = ", ".join(origins[:NAMED_ROWS]) + (", ..." if len(origins) > NAMED_ROWS else "")
        times = self.state.bad_in_a_row
        if times >= MAX_BAD_STEPS:
            raise DataError(
                f"step {self.state.step}: the loss or its gradient was not finite, or nothing was "
                f"trained, in {times} steps in a row. Rows of the last one: {named}. Look at them "
                "(swiftrl data check), lower --learning_rate, or use --torch_dtype float32."
            )
        log.warn(
            f"step {self.state.step} skipped: loss or gradient not finite, or nothing to train. "
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
            self.processes.at("the checkpoint", state.step)
            self.saver.save(plan)
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
        for part in self.processes.gather(self.training.window.values):
            totals.add(part)
        self.report.training(self.state, totals.means(), self.schedule.at(self.state.step - 1))
        self.training.window.values.clear()
        self.state.window = [0.0, 0.0, 0.0]

    def _evaluate(self) -> bool:
        """Evaluate and return whether it is a new best."""
        self.processes.at("the evaluation", self.state.step)
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
