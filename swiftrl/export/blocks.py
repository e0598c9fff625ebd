"""A model quantised block by block: each block sees what those before it make of the rows now.

One block lies on the device at a time where the model is kept elsewhere, so that the device need
hold little more than a block's weights and the Hessians of its layers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from swiftrl.core import log
from swiftrl.core.errors import ExportError
from swiftrl.export.beside import Beside, follows_original
from swiftrl.export.calibration import Pass
from swiftrl.export.capture import Calls, run_block
from swiftrl.export.config import QuantConfig
from swiftrl.export.finite import where_not_finite
from swiftrl.export.folding import FoldCache, scale_inputs
from swiftrl.export.layer_error import relative_error
from swiftrl.export.layers import Blocks
from swiftrl.export.method import Gatherer, Plan
from swiftrl.export.placing import placed
from swiftrl.export.stages import Stage, behind, gather, trace
from swiftrl.export.work_folder import DoneBlock, WorkFolder
from swiftrl.quant.hessian import Hessian

__all__ = ["Job", "quantise_blocks"]


@dataclass(frozen=True, slots=True)
class Job:
    """What is quantised, how and on which rows.

    Attributes:
        model: of transformers; its layers' weights change in place.
        blocks: its blocks and their layers.
        plan: method and format.
        config: the settings.
        rows: passes that calibrate.
        device: where blocks run.
        keep: where they lie otherwise, and hidden states between blocks.
        folder: where blocks that are done are kept.
        folds: where blocks of each kind take scales (AWQ), filled as they come.
    """

    model: Any
    blocks: Blocks
    plan: Plan
    config: QuantConfig
    rows: Sequence[Pass]
    device: torch.device
    keep: torch.device
    folder: WorkFolder
    folds: FoldCache = field(default_factory=dict)


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
    beside = Beside(list(hidden)) if follows_original(job.plan, job.config) else None
    progress = log.Progress("quantising blocks", len(job.blocks), start=done)
    for index, block in enumerate(job.blocks.modules(job.model)):
        with placed(block, job.device):
            if beside is not None:
                beside.take(block, index, calls, job.device)
            if index < done:
                finished = job.folder.load(index)
                _restore(job, finished)
            else:
                finished = _quantise_block(job, block, index, calls, hidden, beside)
                job.folder.save(index, finished)
            records += finished.records
            if index + 1 < len(job.blocks):
                for number, call in enumerate(calls):
                    hidden[number] = _next(job, block, index, number, call, hidden[number])
                if beside is not None:
                    beside.advance(job.keep)
        for call in calls:
            call.forget(index)
        progress.update(index + 1, _note(finished.records))
    progress.close()
    return records


def _note(records: Sequence[Mapping[str, Any]]) -> str:
    errors = [record["relative_error"] for record in records]
    return f"error {sum(errors) / len(errors):.3g}" if errors else "nothing to do"


def _next(
    job: Job, block: nn.Module, index: int, number: int, call: Calls, hidden: Tensor | None
) -> Tensor:
    assert hidden is not None
    output = run_block(block, index, call, hidden, job.device)
    if not bool(torch.isfinite(output).all()):
        when = f"after block {index} was quantised"
        raise ExportError(where_not_finite(job.model, job.rows[number], when=when))
    return output.to(job.keep)


def _quantise_block(
    job: Job,
    block: nn.Module,
    index: int,
    calls: Sequence[Calls],
    hidden: Sequence[Tensor | None],
    beside: Beside | None,
) -> DoneBlock:
    prefix = f"{job.blocks.name}.{index}."
    names = [name.removeprefix(prefix) for name in job.blocks.chosen[index]]
    work = _Block(job, block, prefix, beside, {}, {}, [])
    if not job.plan.method.reads_inputs:
        for name in names:
            work.quantise(name, None, None)
        return work.finished()
    runs = [
        partial(run_block, block, index, call, state, job.device)
        for call, state in zip(calls, hidden, strict=True)
        if state is not None
    ]
    stages = trace(block, names, runs)
    if job.plan.method.scales_inputs or not job.config.true_sequential:
        _at_once(work, stages, runs)
    else:
        _one_by_one(work, stages, runs)
    for name in sorted(set(names) - {name for stage in stages for name in stage.names}):
        work.leave(name)
    return work.finished()


def _one_by_one(work: _Block, stages: Sequence[Stage], runs: Sequence[Callable[[], Any]]) -> None:
    """Quantise each stage on inputs that the stages before it, quantised, make."""
    for number, stage in enumerate(stages):
        for sets in _parts(work.block, stage.sets):
            beside = None if stage.repeats else work.beside
            found = _gathered(work, sets, behind(stages, number), runs, beside)
            work.quantise_sets(sets, found, pooled=stage.repeats)


def _at_once(work: _Block, stages: Sequence[Stage], runs: Sequence[Callable[[], Any]]) -> None:
    """Quantise all stages on inputs that the block makes as it was."""
    found = _gathered(work, [names for stage in stages for names in stage.sets], (), runs)
    if work.job.plan.method.scales_inputs:
        changed = scale_inputs(work.block, stages, found, runs, work.job.plan.scheme, work.folds)
        for name in changed:
            work.changed[work.prefix + name] = work.block.get_parameter(name).data.cpu().clone()
    for stage in stages:
        work.quantise_sets(stage.sets, found, pooled=stage.repeats)


def _parts(
    block: nn.Module, sets: Sequence[tuple[str, ...]]
) -> Iterator[Sequence[tuple[str, ...]]]:
    """Yield sets of layers, as many at a time as have room for their Hessians."""
    size = 4 * int(getattr(block.get_submodule(sets[0][0]), "in_features", 1)) ** 2
    many = max(_HESSIAN_BYTES // size, 1)
    for start in range(0, len(sets), many):
        yield sets[start : start + many]


def _gathered(
    work: _Block,
    sets: Sequence[tuple[str, ...]],
    until: Sequence[str],
    runs: Sequence[Callable[[], Any]],
    beside: Beside | None = None,
) -> dict[tuple[str, ...], Gatherer | None]:
    """Return what was gathered of the inputs of each set of layers."""
    method, config = work.job.plan.method, work.job.config
    found: dict[tuple[str, ...], Gatherer | None] = {}
    for names in sets:
        layer: Any = work.block.get_submodule(names[0])
        found[names] = method.gatherer(layer, config)
    takers = {names[0]: taker.add for names, taker in found.items() if taker is not None}
    for number, run in enumerate(runs):
        both = takers if beside is None else beside.takers(number, takers, until)
        gather(work.block, both, until, run)
    return found


def pool(found: Iterable[Gatherer | None]) -> Hessian | None:
    """Return the Hessian of all tokens that several saw; None if there are none."""
    known = [item for item in found if isinstance(item, Hessian)]
    if not known:
        return None
    total = Hessian.empty(known[0].sum_II.shape[0], known[0].sum_II.device)
    for item in known:
        total.sum_II += item.sum_II
        total.tokens += item.tokens
    return total


@dataclass
class _Block:
    """A block in work: what its layers have become so far."""

    job: Job
    block: nn.Module
    prefix: str
    beside: Beside | None
    packed: dict[str, Tensor]
    changed: dict[str, Tensor]
    records: list[dict[str, Any]]

    @property
    def folds(self) -> FoldCache:
        """What blocks of one kind have in common."""
        return self.job.folds

    def quantise_sets(
        self,
        sets: Sequence[tuple[str, ...]],
        found: Mapping[tuple[str, ...], Gatherer | None],
        *,
        pooled: bool,
    ) -> None:
        """Quantise the layers of some sets.

        Args:
            sets: of layers that share an input.
            found: what was gathered of each.
            pooled: they are experts: what all of them saw stands in where one saw little.
        """
        together = pool(found[names] for names in sets) if pooled else None
        for names in sets:
            for name in names:
                self.quantise(name, found[names], together)

    def quantise(self, name: str, gathered: Gatherer | None, pooled: Gatherer | None) -> None:
        """Quantise one layer: its weight becomes what a reader of the file will compute with."""
        plan, full = self.job.plan, self.prefix + name
        layer: Any = self.block.get_submodule(name)
        before = layer.weight.data
        if not bool(torch.isfinite(before).all()):
            raise ExportError(
                f"{full}: its weight holds NaN or infinity; the model's files are damaged, or "
                "its training diverged."
            )
        rounded = plan.method.quantise(before, gathered, pooled, plan.scheme, self.job.config)
        tensors = plan.format.pack(rounded, plan.scheme)
        after = plan.format.dequantise(tensors, plan.scheme, before.dtype)
        tokens = int(gathered.tokens) if isinstance(gathered, Hessian) else None
        hessian = gathered.mean() if isinstance(gathered, Hessian) and tokens else None
        self.records.append(
            {
                "layer": full,
                "relative_error": relative_error(before, after, hessian),
                "error_of": "weights" if hessian is None else "outputs",
                "tokens": tokens,
            }
        )
        layer.weight.data = after
        self.packed |= {f"{full}.{end}": tensor.cpu() for end, tensor in tensors.items()}

    def leave(self, name: str) -> None:
        """Let a layer be whose inputs are not known, since its weight is read by other code."""
        log.warn(
            f"{self.prefix}{name} stays as it is: no calibration row calls it as a layer, so that "
            "its inputs are not known."
        )

    def finished(self) -> DoneBlock:
        """Return the block as the folder keeps it."""
        return DoneBlock(self.packed, self.changed, self.records)


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
