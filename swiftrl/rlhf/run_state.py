"""Where a run stands: all that the trainer counts, and what its settings amount to."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from swiftrl.core.errors import ConfigError
from swiftrl.rlhf.config import TrainConfig
from swiftrl.rlhf.reuse import ONCE, Reuse

if TYPE_CHECKING:
    from swiftrl.rlhf.stepping import StepOutcome

__all__ = ["Plan", "RunState", "default_accumulation", "make_plan"]

DEFAULT_GLOBAL_BATCH = 16


@dataclass
class RunState:
    """Counters that a checkpoint holds.

    Attributes:
        step: optimizer steps done, skipped ones included.
        rows: rows consumed; the position in the stream of rows.
        tokens: tokens run through the model in training, without padding.
        elapsed_s: seconds of training, over all sessions.
        skipped_steps: steps whose gradients were not finite.
        bad_in_a_row: of these, how many were the latest ones.
        stale_evaluations: evaluations since the best.
        best_step: after which step the held-out metric was best.
        best_value: that metric.
        held_out: "before", "best", "last" -> (step, metrics of that evaluation).
        window: [seconds, rows, tokens] since the last line of metrics.
    """

    step: int = 0
    rows: int = 0
    tokens: int = 0
    elapsed_s: float = 0.0
    skipped_steps: int = 0
    bad_in_a_row: int = 0
    stale_evaluations: int = 0
    best_step: int | None = None
    best_value: float | None = None
    held_out: dict[str, tuple[int, dict[str, float]]] = field(default_factory=dict)
    window: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])

    def count(self, outcome: StepOutcome, seconds: float) -> None:
        """Count a step that took `seconds`."""
        self.step += 1
        self.rows += outcome.rows
        self.tokens += outcome.tokens
        self.elapsed_s += seconds
        new = (seconds, outcome.rows, outcome.tokens)
        self.window = [before + added for before, added in zip(self.window, new, strict=True)]
        if outcome.updated:
            self.bad_in_a_row = 0
        else:
            self.skipped_steps += 1
            self.bad_in_a_row += not outcome.explained

    def as_dict(self) -> dict[str, Any]:
        """Return the counters, ready for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> RunState:
        """Take back what `as_dict` gave."""
        state = cls(**values)
        state.held_out = {name: (step, means) for name, (step, means) in state.held_out.items()}
        return state


@dataclass(frozen=True, slots=True)
class Plan:
    """How long a run is and when what happens, from its settings and its data.

    Attributes:
        global_batch: rows an optimizer step.
        total_rows: of the stream, over all epochs.
        total_steps: optimizer steps of the whole run.
        epoch_rows: rows of an epoch; None if unknown (streaming).
        eval_every, save_every: steps between; 0 for once an epoch; None for never in between.
        reuse: how often each row is trained on.
    """

    global_batch: int
    total_rows: int
    total_steps: int
    epoch_rows: int | None
    eval_every: int | None
    save_every: int | None
    reuse: Reuse = ONCE

    def epoch_of(self, rows: int) -> float:
        """Return how often the data has been seen; 0 if unknown."""
        return rows / self.epoch_rows if self.epoch_rows else 0.0

    def is_due(self, every: int | None, state: RunState, step_rows: int) -> bool:
        """Return whether something falls due after the step that took `step_rows` rows."""
        if every is None:
            return False
        if every:
            return state.step % every == 0
        assert self.epoch_rows is not None
        return state.rows // self.epoch_rows > (state.rows - step_rows) // self.epoch_rows


def make_plan(
    config: TrainConfig,
    *,
    num_rows: int | None,
    world_size: int,
    evaluates: bool,
    done_steps: int = 0,
    done_rows: int = 0,
    replies: int = 1,
    reuse: Reuse = ONCE,
    steps_left: Callable[[int, int], int] = ONCE.steps_left,
) -> Plan:
    """Work out the plan.

    Args:
        config: settings.
        num_rows: of the training data; None for a stream.
        world_size: processes, or groups of them, with rows of their own.
        evaluates: whether there is held-out data.
        done_steps: of a resumed run.
        done_rows: the same in rows.
        replies: sequences that make a row where the batch sizes count these (a group of replies).
        reuse: how often each row is trained on; rows are counted in every pass.
        steps_left: tells how many steps so many rows to come make with a global batch.

    Raises:
        ConfigError: sizes below 1, or a stream without an end.
    """
    evaluates = evaluates and config.eval_strategy != "no"
    _check(config, evaluates=evaluates)
    per_pass = config.per_device_train_batch_size * world_size
    accumulation = config.gradient_accumulation_steps or default_accumulation(per_pass, replies)
    global_batch, rest = divmod(per_pass * accumulation, replies)
    if rest or not global_batch:
        raise ConfigError(
            f"--per_device_train_batch_size {config.per_device_train_batch_size} x "
            f"--gradient_accumulation_steps {accumulation} x {world_size} processes makes "
            f"{per_pass * accumulation} replies a step, which is no multiple of "
            f"--num_generations {replies}. Change one of them."
        )
    if config.max_steps is not None and config.max_steps != -1:
        left = max(config.max_steps - done_steps, 0)
        total_rows = left * global_batch + done_rows
    elif num_rows is None:
        raise ConfigError(
            "--streaming needs --max_steps: the length of the data is not known beforehand."
        )
    else:
        total_rows = math.ceil(config.num_train_epochs * num_rows) * reuse.iterations
        left = steps_left(max(total_rows - done_rows, 0), global_batch)
    strategies = {"no": None, "epoch": 0}
    if num_rows is None and "epoch" in (config.eval_strategy, config.save_strategy):
        raise ConfigError("--streaming has no epochs: use the strategy steps.")
    eval_strategy = config.eval_strategy or "steps"
    return Plan(
        global_batch=global_batch,
        total_rows=total_rows,
        total_steps=done_steps + left,
        epoch_rows=None if num_rows is None else num_rows * reuse.iterations,
        reuse=reuse,
        eval_every=strategies.get(eval_strategy, config.eval_steps or config.save_steps)
        if evaluates
        else None,
        save_every=strategies.get(config.save_strategy, config.save_steps),
    )


def default_accumulation(per_pass: int, replies: int = 1) -> int:
    """Return the forward passes of a step of 16 rows, or as many more as whole groups need.

    Args:
        per_pass: sequences of a forward pass over all processes.
        replies: of a group.
    """
    least = math.ceil(DEFAULT_GLOBAL_BATCH / per_pass)
    return next(n for n in range(least, least + replies) if n * per_pass % replies == 0)


def _check(config: TrainConfig, *, evaluates: bool) -> None:
    for name in (
        "per_device_train_batch_size", "gradient_accumulation_steps", "max_steps",
        "logging_steps", "save_steps", "eval_steps", "save_total_limit", "early_stop_interval",
        "num_train_epochs",
    ):  # fmt: skip
        value = getattr(config, name)
        if value is not None and value <= 0 and (name, value) != ("max_steps", -1):
            raise ConfigError(f"--{name}: found {value}; expected more than 0.")
    for name in ("load_best_model_at_end", "early_stop_interval"):
        if getattr(config, name) and not evaluates:
            raise ConfigError(
                f"--{name} needs held-out rows to compare by: give --val_dataset or "
                "--split_dataset_ratio, and an --eval_strategy other than no."
            )
