"""A plan in words: tables, or JSON."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from swiftrl.cli.plan_rows import Lengths
from swiftrl.core import log
from swiftrl.core.config import Settings
from swiftrl.models.resolve import Resolved
from swiftrl.rlhf.algorithm import Algorithm
from swiftrl.rlhf.config import TrainConfig
from swiftrl.rlhf.planning.choices import Choices, Device
from swiftrl.rlhf.planning.memory import PARTS, Memory
from swiftrl.rlhf.planning.remedies import Remedy
from swiftrl.rlhf.planning.shape import ModelShape

__all__ = ["Plan", "record", "show"]

_GIB = 2**30


@dataclass(frozen=True, slots=True)
class Plan:
    """All that is printed.

    Attributes:
        settings: as given.
        algorithm: of the run.
        resolved: the model's configuration.
        template: its chat template, in words.
        shape: what of the model decides memory.
        choices: what of the settings does.
        device: it runs on.
        lengths: of the rows.
        memory: of one process.
        remedies: what would need less.
    """

    settings: Settings
    algorithm: Algorithm[Any]
    resolved: Resolved
    template: str
    shape: ModelShape
    choices: Choices
    device: Device
    lengths: Lengths
    memory: Memory
    remedies: list[Remedy]


def _gib(value: float) -> str:
    return f"{value / _GIB:.2f}"


def _batch(made: Plan) -> list[tuple[str, str]]:
    train, choices = made.settings[TrainConfig], made.choices
    batch = choices.batch()
    processes = max(choices.processes // choices.sequence_parallel, 1)
    unit = "processes" if choices.sequence_parallel == 1 else "groups of processes"
    group = made.algorithm.config.num_generations if _online(made) else 1
    rows = train.per_device_train_batch_size * choices.accumulation * processes
    a_step = f"{rows // group:,} prompts x {group} replies" if _online(made) else f"{rows:,} rows"
    found = [
        ("rows", made.lengths.source),
        (
            "step",
            f"{a_step}: {processes} {unit} x {choices.accumulation} forward passes x "
            f"{train.per_device_train_batch_size}",
        ),
        (
            "largest forward pass",
            f"{batch.tokens:,} tokens, {batch.trained:,} trained, layout {choices.layout}",
        ),
    ]
    steps = train.max_steps if train.max_steps and train.max_steps > 0 else None
    if steps is None and made.lengths.rows is not None:
        steps = math.ceil(made.lengths.rows * train.num_train_epochs / (rows // group))
    found.append(("steps", f"{steps:,}" if steps else "not known: give --dataset or --num_rows"))
    return found


def _online(made: Plan) -> bool:
    return made.choices.rollout is not None and made.choices.teacher is None


def show(made: Plan) -> None:
    """Print a plan as tables."""
    shape, choices, device = made.shape, made.choices, made.device
    trained = choices.trained(shape)
    extra = 0 if choices.full else trained - choices.saved
    family = f", family {made.resolved.spec.name}" if made.resolved.spec else ""
    log.table(
        "Run",
        ["", ""],
        [
            ("model", f"{made.resolved.name} ({shape.architecture}{family})"),
            (
                "parameters",
                f"{(shape.parameters + extra) / 1e6:,.2f}M, {trained / 1e6:,.3f}M trained",
            ),
            ("template", made.template),
            *_batch(made),
        ],
    )
    total = made.memory.total
    rows = [
        (label, _gib(made.memory.parts[part]), f"{made.memory.parts[part] / total:.0%}")
        for part, label in PARTS.items()
        if made.memory.parts.get(part, 0) >= 2**20
    ]
    log.table(
        f"Memory of each process on {device.name}, GiB",
        ["part", "GiB", "share"],
        [*rows, ("peak", _gib(total), "100%")],
    )
    fits = total <= device.memory
    log.info(
        f"{'Fits' if fits else 'Does not fit'}: {_gib(total)} GiB of {_gib(device.memory)} GiB, "
        f"at the {_MOMENTS[made.memory.moment]}."
        + (
            f" In the host's memory besides: {_gib(made.memory.host)} GiB."
            if made.memory.host
            else ""
        )
    )
    if made.remedies and (not fits or total > 0.8 * device.memory):
        _show_remedies(made)


_MOMENTS = {
    "forward": "end of a forward pass",
    "backward": "end of a backward pass",
    "rollout": "writing of replies",
    "teaching": "teacher's forward pass",
    "saving": "writing of a checkpoint",
}


def _show_remedies(made: Plan) -> None:
    log.table(
        "What would need less, cheapest first",
        ["settings", "GiB", "fits", "costs"],
        [
            (r.flags, _gib(r.memory.total), "yes" if r.fits else "no", r.costs)
            for r in made.remedies
        ],
    )


def record(made: Plan) -> dict[str, Any]:
    """Return a plan as plain values, for JSON."""
    shape, choices, batch = made.shape, made.choices, made.choices.batch()
    return {
        "model": made.resolved.name,
        "architecture": shape.architecture,
        "family": made.resolved.spec.name if made.resolved.spec else None,
        "template": made.template,
        "parameters": shape.parameters,
        "trained_parameters": choices.trained(shape),
        "batch": {
            **dict(_batch(made)),
            "processes": choices.processes,
            "accumulation": made.choices.accumulation,
            "tokens": batch.tokens,
            "trained_tokens": batch.trained,
            "layout": choices.layout,
        },
        "device": made.device.name,
        "device_memory": made.device.memory,
        "peak": round(made.memory.total),
        "moment": made.memory.moment,
        "fits": made.memory.total <= made.device.memory,
        "parts": {name: round(value) for name, value in made.memory.parts.items()},
        "moments": {name: round(value) for name, value in made.memory.moments.items()},
        "host": round(made.memory.host),
        "remedies": [
            {"settings": r.flags, "peak": round(r.memory.total), "fits": r.fits, "costs": r.costs}
            for r in made.remedies
        ],
    }
