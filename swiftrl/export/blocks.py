"""A model quantised block by block: each block sees what those before it make of the rows now.

One block lies on the device at a time where the model is kept elsewhere, so that the device need
hold little more than a block's weights and the Hessians of its layers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from swiftrl.core import log
from swiftrl.core.errors import ExportError
from swiftrl.export.beside import Beside, follows_original
from swiftrl.export.block_work import BlockWork
from swiftrl.export.capture import Calls, run_block
from swiftrl.export.finite import where_not_finite
from swiftrl.export.folding import scale_inputs
from swiftrl.export.job import Job
from swiftrl.export.method import Gatherer, one_by_one
from swiftrl.export.placing import placed
from swiftrl.export.replay import Replay, blanked, shape_of
from swiftrl.export.stages import Stage, behind, gather, trace
from swiftrl.export.work_folder import DoneBlock

__all__ = ["Job", "quantise_blocks"]


_Found = dict[tuple[str, ...], Gatherer | None]
"""What was gathered of the inputs of sets of layers."""
_HESSIAN_BYTES = 8 * 2**30
"""Of Hessians that are gathered in one go."""


@torch.no_grad()
def quantise_blocks(job: Job, calls: Sequence[Calls], done: int) -> list[dict[str, Any]]:
    """Quantise every block; return what the report says of each layer.

    Args:
        job: what and how.
        calls: how the model's blocks are called in each pass; empty for a method that needs none.
        done: blocks that the folder holds already.
    """
    records: list[dict[str, Any]] = []
    hidden = [call.first for call in calls]
    beside = Beside(hidden, job.keep) if follows_original(job.plan, job.config) else None
    progress = log.Progress("quantising blocks", len(job.blocks), start=done)
    for index, block in enumerate(job.blocks.modules(job.model)):
        with placed(block, job.device):
            if beside is not None:
                beside.take(block, index, calls, job.device)
            runs = [
                partial(run_block, block, index, call, state, job.device)
                for call, state in zip(calls, hidden, strict=True)
                if state is not None
            ]
            if index < done:
                finished, replay = job.folder.load(index), Replay.nothing(block)
                _restore(job, finished)
            else:
                finished, replay = _quantise_block(job, block, index, runs, beside)
                job.folder.save(index, finished)
            records += finished.records
            if index + 1 < len(job.blocks):
                hidden = [_next(job, index, number, run, replay) for number, run in enumerate(runs)]
                if beside is not None:
                    beside.advance()
        for call in calls:
            call.forget(index)
        progress.update(index + 1, _note(finished.records))
    progress.close()
    return records


def _note(records: Sequence[Mapping[str, Any]]) -> str:
    errors = [record["relative_error"] for record in records]
    return f"error {sum(errors) / len(errors):.3g}" if errors else "nothing to do"


def _next(job: Job, index: int, number: int, run: Callable[[], Tensor], replay: Replay) -> Tensor:
    with replay.playing(number):
        output = run()
    if not bool(torch.isfinite(output).all()):
        when = f"after block {index} was quantised"
        raise ExportError(where_not_finite(job.model, job.rows[number], when=when))
    return output.to(job.keep)


def _quantise_block(
    job: Job,
    block: nn.Module,
    index: int,
    runs: Sequence[Callable[[], Tensor]],
    beside: Beside | None,
) -> tuple[DoneBlock, Replay]:
    """Quantise a block; return what it has become, and what it returns in each pass by now."""
    prefix = f"{job.blocks.name}.{index}."
    names = [name.removeprefix(prefix) for name in job.blocks.chosen[index]]
    work = BlockWork(job, block, prefix)
    if not job.plan.method.reads_inputs:
        for name in names:
            work.quantise([name], None, None)
        return work.finished(), Replay.nothing(block)
    stages = trace(block, names, runs)
    shape = shape_of(block, stages, runs[0])
    task = _Task(work, stages, runs, Replay(block, shape, len(runs)), beside)
    found = _scaled(task) if job.plan.method.scales_inputs else None
    if one_by_one(job.plan, job.config):
        _one_by_one(task)
    else:
        _at_once(task, found)
    for name in sorted(set(names) - {name for stage in stages for name in stage.names}):
        work.leave(name)
    return work.finished(), task.replay


@dataclass(frozen=True, slots=True)
class _Task:
    """A block and all that is known of how it runs.

    Attributes:
        work: the block.
        stages: its layers in the order in which they run.
        runs: a forward pass of the block for each pass of calibration.
        replay: what is known of these already.
        beside: the original block; None if nothing is to be made good.
    """

    work: BlockWork
    stages: Sequence[Stage]
    runs: Sequence[Callable[[], Any]]
    replay: Replay
    beside: Beside | None


def _one_by_one(task: _Task) -> None:
    """Quantise each stage on inputs that the stages before it, quantised, make."""
    for number, stage in enumerate(task.stages):
        for sets in _parts(task.work.block, stage.sets):
            found = _gathered(task, number, sets)
            task.work.quantise_sets(sets, found, pooled=stage.repeats)
        task.replay.settle(number)


def _at_once(task: _Task, found: _Found | None) -> None:
    """Quantise all stages on inputs that the block makes as it was.

    Args:
        task: the block.
        found: what was gathered of these already, if it was.
    """
    if found is None:
        found = _gatherers(task.work, _sets(task))
        for run in task.runs:
            gather(task.work.block, _takers(found), (), run)
    for stage in task.stages:
        task.work.quantise_sets(stage.sets, found, pooled=stage.repeats)


def _scaled(task: _Task) -> _Found:
    """Scale the inputs of a block's layers; return what was gathered of them, scaled too.

    The inputs are those of the original where it runs beside.
    """
    work, job = task.work, task.work.job
    found = _gatherers(work, _sets(task))
    if task.beside is not None:
        task.beside.observe(_takers(found))
    else:
        for run in task.runs:
            gather(work.block, _takers(found), (), run)
    work.change(scale_inputs(work.block, task.stages, found, task.runs, job.plan.scheme, job.folds))
    if task.beside is not None:
        task.beside.take_scaled(work.block)
    return found


def _sets(task: _Task) -> list[tuple[str, ...]]:
    return [names for stage in task.stages for names in stage.sets]


def _parts(
    block: nn.Module, sets: Sequence[tuple[str, ...]]
) -> Iterator[Sequence[tuple[str, ...]]]:
    """Yield sets of layers, as many at a time as have room for their Hessians."""
    size = 4 * int(getattr(block.get_submodule(sets[0][0]), "in_features", 1)) ** 2
    many = max(_HESSIAN_BYTES // size, 1)
    for start in range(0, len(sets), many):
        yield sets[start : start + many]


def _gatherers(work: BlockWork, sets: Sequence[tuple[str, ...]]) -> _Found:
    method, config = work.job.plan.method, work.job.config
    found: _Found = {}
    for names in sets:
        layer: Any = work.block.get_submodule(names[0])
        found[names] = method.gatherer(layer, config)
    return found


def _takers(found: _Found) -> dict[str, Callable[[Tensor], None]]:
    return {names[0]: taker.add for names, taker in found.items() if taker is not None}


def _gathered(task: _Task, number: int, sets: Sequence[tuple[str, ...]]) -> _Found:
    """Return what was gathered of the inputs of sets of a stage's layers."""
    work, stage, until = task.work, task.stages[number], behind(task.stages, number)
    found = _gatherers(work, sets)
    takers, keeper = _takers(found), task.replay.keeper(number)
    # Experts run one after another: how many a pass reaches, and which last, is not known.
    calls = 0 if stage.repeats else task.replay.calls(list(takers))
    unread = [n for later in task.stages[number:] for n in later.names] if stage.repeats else []
    for place, run in enumerate(task.runs):
        each = takers
        if task.beside is not None and not stage.repeats:
            each = task.beside.takers(place, takers, until)
        each = {name: _both(take, keeper.get(name)) for name, take in each.items()}
        with task.replay.playing(place), blanked(work.block, unread):
            gather(work.block, each, until, run, calls=calls)
    return found


def _both(
    one: Callable[[Tensor], None], other: Callable[[Tensor], None] | None
) -> Callable[[Tensor], None]:
    def take(inputs: Tensor) -> None:
        one(inputs)
        if other is not None:
            other(inputs)

    return take


def _restore(job: Job, done: DoneBlock) -> None:
    """Give a block's layers the weights that an interrupted run gave them."""
    plan, layers = job.plan, [record["layer"] for record in done.records]
    for name, tensor in done.changed.items():
        job.model.get_parameter(name).data.copy_(tensor)
    for name in layers:
        layer: Any = job.model.get_submodule(name)
        start = f"{name}."
        own = {
            full.removeprefix(start): tensor.to(layer.weight.device)
            for full, tensor in done.packed.items()
            if full.startswith(start)
        }
        layer.weight.data = plan.format.dequantise(own, plan.scheme, layer.weight.dtype)
