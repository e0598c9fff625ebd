"""What the trainer puts into checkpoints, and takes out of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from swiftrl.core import log
from swiftrl.core.errors import ConfigError, ModelError, SwiftRLError
from swiftrl.rlhf import checkpoint as files
from swiftrl.rlhf.algorithm import Algorithm
from swiftrl.rlhf.config import TrainConfig
from swiftrl.rlhf.distributed import Processes
from swiftrl.rlhf.model_files import save_model
from swiftrl.rlhf.moving_reference import MovingReference
from swiftrl.rlhf.optim import LossScale
from swiftrl.rlhf.parallel.base import Trained
from swiftrl.rlhf.part_writing import PartWriting
from swiftrl.rlhf.randomness import random_state, restore_random_state
from swiftrl.rlhf.run_folder import RunFolder
from swiftrl.rlhf.run_state import Plan, RunState
from swiftrl.rlhf.steps import Sums

__all__ = ["Held", "Saver", "Training"]


class Held(Protocol):
    """What the trainer takes rows from, where these cannot be made again."""

    def held(self) -> dict[str, Tensor]:
        """Return what is still to be trained on, of all processes (all)."""
        ...

    def take_up(self, tensors: Mapping[str, Tensor]) -> None:
        """Take back what `held` gave."""
        ...


@dataclass
class Training:
    """What changes while training, and is therefore saved.

    Attributes:
        model: with its adapters.
        trained: what trains of it, with its optimizer.
        loss_scale: for float16.
        algorithm: may have a state.
        reference: one that moves; None for others.
        state: counters.
        window: this process's sums of metrics since the last line that was written.
        rollouts: hold replies that are trained on in several steps; None where rows are data.
    """

    model: nn.Module
    trained: Trained
    loss_scale: LossScale
    algorithm: Algorithm[Any]
    reference: MovingReference | None = None
    state: RunState = field(default_factory=RunState)
    window: Sums = field(default_factory=Sums)
    rollouts: Held | None = None

    @property
    def parameters(self) -> Mapping[str, nn.Parameter]:
        """What trains, by name."""
        return self.trained.parameters


@dataclass(frozen=True, slots=True)
class _Whole:
    """What a checkpoint holds of the model: whole in the main process, None for what is left out.

    Attributes:
        model: its state_dict; None if the model itself holds it.
        weights: what trains, in float32.
        optimizer: its state.
        writing: of both in parts instead.
        rollout: that is still trained on; empty if there is none.
    """

    model: dict[str, Tensor] | None
    weights: dict[str, Tensor] | None
    optimizer: dict[str, Tensor] | None
    writing: PartWriting
    rollout: dict[str, Tensor]


class Saver:
    """Saves and restores a training.

    Args:
        training: saved and restored.
        run_folder: where to, and what from.
        processes: those of the run.
        config: what is kept.
        settings: every setting, saved beside.
        companions: tokenizer and processor.
        dtype: of a full model's trained weights in its files.
        num_rows: of the training data, None for a stream.
        data_fingerprint: changes with any of its rows; None where that is unknown.
    """

    def __init__(
        self,
        training: Training,
        run_folder: RunFolder,
        processes: Processes,
        config: TrainConfig,
        *,
        settings: Mapping[str, Any],
        companions: Sequence[Any],
        dtype: torch.dtype,
        num_rows: int | None,
        data_fingerprint: str | None = None,
    ) -> None:
        self.training, self.processes, self.config = training, processes, config
        self.settings, self.companions, self.dtype = settings, companions, dtype
        self.num_rows, self.data_fingerprint = num_rows, data_fingerprint
        self.run_folder = run_folder.path
        self.resume_from = run_folder.resume_from
        self.last: Path | None = run_folder.resume_from

    @property
    def best(self) -> Path | None:
        """The checkpoint of the best evaluation, if one was saved after it."""
        step = self.training.state.best_step
        if step is None:
            return None
        path = files.checkpoint_path(self.run_folder, step)
        return path if path.is_dir() else None

    def save(self, plan: Plan) -> None:
        """Write a checkpoint of the present step; every process calls this.

        Args:
            plan: of the run; a resumed one must keep its global batch.

        Raises:
            MachineError: no space, or a failing disk; the earlier checkpoints are as they were.
        """
        path = files.checkpoint_path(self.run_folder, self.training.state.step)
        mine = {
            "random": random_state(self.processes.device),
            # Sums count once, whatever they are taken up by.
            "window": self.training.window.values if not self.processes.sequence.rank else {},
        }
        everyone = self.processes.gather_all(mine)
        with self.processes.together():
            whole = self._whole()
        failure: SwiftRLError | None = None
        if self.processes.is_main:
            try:
                self._write(path, plan, everyone, whole)
            except SwiftRLError as error:
                failure = error
            whole.writing.give_up()
        elif whole.writing.parts is not None:
            whole.writing.join()
        failure = self.processes.share(failure)
        if failure is not None:
            raise failure
        self.last = path

    def _whole(self) -> _Whole:
        """Bring together what the processes hold; every process calls this."""
        trained, config = self.training.trained, self.config
        resumable = not config.save_only_model
        weights = resumable or config.load_best_model_at_end
        parts = trained.parts(weights=weights, optimizer=resumable)
        together = parts is None
        rollouts = self.training.rollouts
        return _Whole(
            model=trained.model_state(),
            weights=trained.weights() if weights and together else None,
            optimizer=trained.optimizer_state() if resumable and together else None,
            writing=PartWriting(parts, self.processes),
            rollout=rollouts.held() if rollouts is not None and resumable else {},
        )

    def _write(self, path: Path, plan: Plan, everyone: list[dict[str, Any]], whole: _Whole) -> None:
        training, config = self.training, self.config
        scale = training.loss_scale
        state = {
            "counters": training.state.as_dict(),
            "num_rows": self.num_rows,
            "data_fingerprint": self.data_fingerprint,
            "global_batch": plan.global_batch,
            "reuse": [plan.reuse.iterations, plan.reuse.steps],
            "loss_scale": [scale.value, scale.good_steps],
            "algorithm": training.algorithm.state_dict(),
            "processes": everyone,
        }
        files.write_checkpoint(
            path,
            save_model=lambda folder: save_model(
                training.model,
                folder,
                dtype=self.dtype,
                companions=self.companions,
                state=whole.model,
            ),
            settings=self.settings,
            trainable=whole.weights,
            resumable=None
            if config.save_only_model
            else files.Resumable(
                whole.optimizer,
                state,
                training.reference and training.reference.state(),
                whole.rollout,
            ),
            write_parts=whole.writing.lead if whole.writing.parts else None,
        )
        keep = {path} | ({self.best} if self.best is not None else set())
        files.prune(self.run_folder, limit=config.save_total_limit, keep=keep)

    def restore(self) -> None:
        """Take up the run where the checkpoint left it, if there is one to resume from.

        Raises:
            ModelError: the checkpoint is of another model.
            ConfigError: it is of other data.
        """
        if self.processes.is_main:
            files.remove_leftovers(self.run_folder)
        if self.resume_from is None:
            return
        training = self.training
        stored = files.read_state(self.resume_from)
        self._check_data(stored)
        self.load_trainable(self.resume_from)
        training.trained.load_optimizer_state(files.read_optimizer(self.resume_from))
        training.state = RunState.from_dict(stored["counters"])
        training.loss_scale.value, training.loss_scale.good_steps = stored["loss_scale"]
        training.algorithm.load_state_dict(stored["algorithm"])
        if training.reference is not None:
            training.reference.load(files.read_reference(self.resume_from))
        rollout = files.read_rollout(self.resume_from)
        if rollout is not None and training.rollouts is not None:
            training.rollouts.take_up(rollout)
        self._restore_process(stored["processes"])
        if self.processes.is_main:
            aside = files.set_aside_later(self.run_folder, training.state.step)
            if aside:
                log.warn(
                    f"checkpoints after step {training.state.step} were made by an earlier "
                    f"continuation; they now stand in {aside}."
                )
        log.info(f"resumed from {self.resume_from} at step {training.state.step}")

    def _restore_process(self, everyone: list[dict[str, Any]]) -> None:
        processes = self.processes
        if len(everyone) == processes.world_size:
            mine = everyone[processes.rank]
            restore_random_state(mine["random"], processes.device)
            windows = [mine["window"]]
        else:
            # Sums since the last line of metrics may be anyone's, so long as each counts once.
            windows = [each["window"] for each in everyone] if processes.is_main else []
        for window in windows:
            self.training.window.add({name: (pair[0], pair[1]) for name, pair in window.items()})

    def load_trainable(self, folder: Path) -> None:
        """Overwrite the trained weights with a checkpoint's.

        Raises:
            ModelError: its weights have other names or shapes.
        """
        stored = files.read_trainable(folder)
        parameters = self.training.parameters
        wrong = sorted(stored.keys() ^ parameters.keys()) or [
            name for name in stored if stored.shape(name) != parameters[name].shape
        ]
        if wrong:
            raise ModelError(
                f"{folder}: its trained weights are not this run's: {', '.join(wrong[:3])} "
                f"({len(wrong)} in all) are absent or have another shape on one side. Resume with "
                "the same --model and the same LoRA settings."
            )
        self.training.trained.load_weights(stored)

    def _check_data(self, state: Mapping[str, Any]) -> None:
        before, now = state["num_rows"], self.num_rows
        if before != now:
            raise ConfigError(
                f"--resume_from_checkpoint {self.resume_from}: the training data had {before} "
                f"rows and now has {now}. Give the same --dataset and settings of it."
            )
        known = state.get("data_fingerprint")
        if known and self.data_fingerprint and known != self.data_fingerprint:
            raise ConfigError(
                f"--resume_from_checkpoint {self.resume_from}: the training data has as many rows "
                "as before, but not the same ones: a file of --dataset, or how it is encoded, has "
                "changed. Bring the old data back to resume exactly, or start a new run from the "
                "checkpoint's weights."
            )

    def check_plan(self, plan: Plan) -> None:
        """Refuse to resume with another global batch, or when there is nothing left to do.

        Raises:
            ConfigError: the message names what to change.
        """
        if self.resume_from is None:
            return
        stored = files.read_state(self.resume_from)
        before = stored["global_batch"]
        if before != plan.global_batch:
            raise ConfigError(
                f"--resume_from_checkpoint {self.resume_from}: an optimizer step took {before} "
                f"rows and would now take {plan.global_batch}. Choose "
                "--per_device_train_batch_size, --gradient_accumulation_steps and the number of "
                f"processes so that their product is {before}."
            )
        reuse = stored.get("reuse", [1, 1])
        if reuse != [plan.reuse.iterations, plan.reuse.steps]:
            raise ConfigError(
                f"--resume_from_checkpoint {self.resume_from}: a rollout had {reuse[0]} passes of "
                f"{reuse[1]} optimizer steps, and would now have {plan.reuse.iterations} of "
                f"{plan.reuse.steps}. Give the same --num_iterations and --steps_per_generation."
            )
        state = self.training.state
        if state.rows >= plan.total_rows:
            raise ConfigError(
                f"--resume_from_checkpoint {self.resume_from}: training is complete: "
                f"{state.step} steps, {plan.epoch_of(state.rows):g} epochs. To train on, raise "
                "--num_train_epochs (or --max_steps)."
            )
