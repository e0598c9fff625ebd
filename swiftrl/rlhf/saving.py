"""What the trainer puts into checkpoints, and takes out of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from swiftrl.core import log
from swiftrl.core.errors import ConfigError, ModelError, SwiftRLError
from swiftrl.rlhf import checkpoint as files
from swiftrl.rlhf.algorithm import Algorithm
from swiftrl.rlhf.model_files import save_model
from swiftrl.rlhf.optim import load_optimizer_tensors, optimizer_tensors
from swiftrl.rlhf.randomness import random_state, restore_random_state
from swiftrl.rlhf.run_folder import RunFolder
from swiftrl.rlhf.run_state import Plan, RunState
from swiftrl.rlhf.steps import Sums

if TYPE_CHECKING:
    from swiftrl.rlhf.trainer import Trainer

__all__ = ["Saver"]


class Saver:
    """Saves and restores a trainer.

    Args:
        trainer: whose weights, optimizer and counters they are.
        run_folder: where to, and what from.
        algorithm: has a state of its own.
        settings: saved beside.
        companions: tokenizer and processor.
        dtype: of a full model's trained weights in its files.
    """

    def __init__(
        self,
        trainer: Trainer,
        run_folder: RunFolder,
        algorithm: Algorithm,
        settings: Mapping[str, Any],
        companions: Sequence[Any],
        dtype: torch.dtype,
    ) -> None:
        self.trainer, self.algorithm, self.settings = trainer, algorithm, settings
        self.companions, self.dtype = companions, dtype
        self.run_folder = run_folder.path
        self.resume_from = run_folder.resume_from
        self.last: Path | None = run_folder.resume_from

    @property
    def best(self) -> Path | None:
        """The checkpoint of the best evaluation, if one was saved after it."""
        step = self.trainer.state.best_step
        if step is None:
            return None
        path = files.checkpoint_path(self.run_folder, step)
        return path if path.is_dir() else None

    def save(self) -> None:
        """Write a checkpoint of the present step; every process calls this.

        Raises:
            MachineError: no space, or a failing disk; the earlier checkpoints are as they were.
        """
        trainer = self.trainer
        path = files.checkpoint_path(self.run_folder, trainer.state.step)
        mine = {
            "random": random_state(trainer.processes.device),
            "window": trainer.window.values,
        }
        everyone = trainer.processes.gather(mine)
        failure: SwiftRLError | None = None
        if trainer.processes.is_main:
            try:
                self._write(path, everyone)
            except SwiftRLError as error:
                failure = error
        failure = trainer.processes.share(failure)
        if failure is not None:
            raise failure
        self.last = path

    def _write(self, path: Path, everyone: list[dict[str, Any]]) -> None:
        trainer, config = self.trainer, self.trainer.config
        keep_weights = not config.save_only_model or config.load_best_model_at_end
        state = {
            "counters": trainer.state.as_dict(),
            "num_rows": trainer.feed.num_rows,
            "global_batch": trainer.plan.global_batch,
            "loss_scale": [trainer.loss_scale.value, trainer.loss_scale.good_steps],
            "algorithm": self.algorithm.state_dict(),
            "processes": everyone,
        }
        files.write_checkpoint(
            path,
            save_model=lambda folder: save_model(
                trainer.policy.model, folder, dtype=self.dtype, companions=self.companions
            ),
            settings=self.settings,
            trainable=trainer.parameters if keep_weights else None,
            resumable=None
            if config.save_only_model
            else files.Resumable(optimizer_tensors(trainer.optimizer, trainer.parameters), state),
        )
        keep = {path} | ({self.best} if self.best is not None else set())
        files.prune(self.run_folder, limit=config.save_total_limit, keep=keep)

    def restore(self) -> None:
        """Take up the run where the checkpoint left it, if there is one to resume from.

        Raises:
            ModelError: the checkpoint is of another model.
        """
        trainer = self.trainer
        if trainer.processes.is_main:
            files.remove_leftovers(self.run_folder)
        if self.resume_from is None:
            return
        state = files.read_state(self.resume_from)
        self._check_data(state)
        self.load_trainable(self.resume_from)
        load_optimizer_tensors(
            trainer.optimizer, trainer.parameters, files.read_optimizer(self.resume_from)
        )
        trainer.state = RunState.from_dict(state["counters"])
        trainer.loss_scale.value, trainer.loss_scale.good_steps = state["loss_scale"]
        self.algorithm.load_state_dict(state["algorithm"])
        self._restore_process(state["processes"])
        if trainer.processes.is_main:
            aside = files.set_aside_later(self.run_folder, trainer.state.step)
            if aside:
                log.warn(
                    f"checkpoints after step {trainer.state.step} were made by an earlier "
                    f"continuation; they now stand in {aside}."
                )
        log.info(f"resumed from {self.resume_from} at step {trainer.state.step}")

    def _restore_process(self, everyone: list[dict[str, Any]]) -> None:
        trainer = self.trainer
        same = len(everyone) == trainer.processes.world_size
        if same:
            mine = everyone[trainer.processes.rank]
            restore_random_state(mine["random"], trainer.processes.device)
            windows = [mine["window"]]
        else:
            # Sums since the last line of metrics may be anyone's; each counts once.
            windows = [p["window"] for p in everyone] if trainer.processes.is_main else []
        trainer.window = Sums()
        for window in windows:
            trainer.window.add({name: (pair[0], pair[1]) for name, pair in window.items()})

    def load_trainable(self, folder: Path) -> None:
        """Overwrite the trained weights with a checkpoint's.

        Raises:
            ModelError: its weights have other names or shapes.
        """
        stored = files.read_trainable(folder)
        parameters = self.trainer.parameters
        wrong = sorted(stored.keys() ^ parameters.keys()) or [
            name for name, value in stored.items() if value.shape != parameters[name].shape
        ]
        if wrong:
            raise ModelError(
                f"{folder}: its trained weights are not this run's: {', '.join(wrong[:3])} "
                f"({len(wrong)} in all) are absent or have another shape on one side. Resume with "
                "the same --model and the same LoRA settings."
            )
        with torch.no_grad():
            for name, value in stored.items():
                parameters[name].copy_(value)

    def _check_data(self, state: Mapping[str, Any]) -> None:
        before, now = state["num_rows"], self.trainer.feed.num_rows
        if before != now:
            raise ConfigError(
                f"--resume_from_checkpoint {self.resume_from}: the training data had {before} "
                f"rows and now has {now}. Give the same --dataset and settings of it."
            )

    def check_plan(self, plan: Plan) -> None:
        """Refuse to resume with another global batch, or when there is nothing left to do.

        Raises:
            ConfigError: the message names what to change.
        """
        if self.resume_from is None:
            return
        before = files.read_state(self.resume_from)["global_batch"]
        if before != plan.global_batch:
            raise ConfigError(
                f"--resume_from_checkpoint {self.resume_from}: an optimizer step took {before} "
                f"rows and would now take {plan.global_batch}. Choose "
                "--per_device_train_batch_size, --gradient_accumulation_steps and the number of "
                f"processes so that their product is {before}."
            )
        state = self.trainer.state
        if state.rows >= plan.total_rows:
            raise ConfigError(
                f"--resume_from_checkpoint {self.resume_from}: training is complete: "
                f"{state.step} steps, {plan.epoch_of(state.rows):g} epochs. To train on, raise "
                "--num_train_epochs (or --max_steps)."
            )
