"""Quantised export, in order: calibrate, quantise block by block, compare, write, read again."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from swiftrl.backends.base import Backend
from swiftrl.core import log
from swiftrl.core.errors import ExportError
from swiftrl.core.files import atomic_directory
from swiftrl.data.rejects import REJECTS_FILE, save_rejects
from swiftrl.export.blocks import Job, quantise_blocks
from swiftrl.export.calibration import Pass, Samples, passes
from swiftrl.export.capture import capture
from swiftrl.export.checks import take_apart
from swiftrl.export.config import ExportConfig, QuantConfig
from swiftrl.export.layers import Blocks, find_blocks
from swiftrl.export.measure import Comparison, compare, logits_of
from swiftrl.export.method import Plan
from swiftrl.export.packing import packs
from swiftrl.export.placing import streamed
from swiftrl.export.report import report_of, write_report
from swiftrl.export.work_folder import WorkFolder
from swiftrl.export.writer import check_reload, check_tensors, write_quantised
from swiftrl.models.load import LoadedModel

__all__ = ["Order", "bytes_of", "export_quantised", "judge", "release"]


_RELOADED_PASSES = 2
"""Held-out passes on which the files are compared with the model in memory."""


@dataclass(frozen=True)
class Order:
    """What is to be made.

    Attributes:
        plan: method and format.
        quant: the settings of quantisation.
        export: the settings of export.
        samples: rows.
        folder: where blocks wait.
        target: folder of the result.
        settings: all of them, for the record.
    """

    plan: Plan
    quant: QuantConfig
    export: ExportConfig
    samples: Samples
    folder: WorkFolder
    target: Path
    settings: Mapping[str, Any]


def export_quantised(loaded: LoadedModel, order: Order, backend: Backend) -> dict[str, Any]:
    """Quantise a loaded model and write it; return the report.

    The weights of `loaded` change.

    Raises:
        ExportError: a row or a layer gives NaN, or the result is too far from the original.
    """
    began = time.monotonic()
    model: Any = loaded.model
    take_apart(model, order.quant)
    blocks = find_blocks(model, loaded.spec, order.quant.modules_to_not_convert)
    size, dtype = bytes_of(model.state_dict()), model.dtype
    device = backend.current_device()
    done = order.folder.open()
    with streamed(model, blocks, device):
        packed = packs(model, order.samples)
        rows = passes(order.samples.calibration, order.quant.quant_batch_size, packed=packed)
        held_out = passes(order.samples.held_out, order.quant.quant_batch_size, packed=packed)
        before = logits_of(model, held_out, "the original on held-out rows")
    records = _quantise(loaded, blocks, order, rows, device, done)
    with streamed(model, blocks, device):
        after = logits_of(model, held_out[: len(before)], "the result on held-out rows")
    comparison = compare(held_out, before, after)
    layers = [record["layer"] for record in records]
    tensors = _packed(order.folder, len(blocks))
    skipped = [name for name in (*blocks.layers, *blocks.skipped) if name not in set(layers)]
    left = {f"{name}.weight" for name in layers}
    rest = {name: tensor for name, tensor in model.state_dict().items() if name not in left}
    report = report_of(
        order.plan,
        records,
        comparison,
        model=loaded.name,
        settings=order.settings,
        data=order.samples.sources,
        tokens=sum(len(row.token_ids) for row in rows),
        skipped=skipped,
        sizes=(size, bytes_of(rest) + bytes_of(tensors)),
        seconds=time.monotonic() - began,
        bound=order.quant.quant_max_kl,
    )
    judge(comparison, order)
    with atomic_directory(order.target) as folder:
        write_quantised(
            folder,
            loaded,
            order.plan,
            tensors,
            layers,
            skipped,
            max_shard_size=order.export.max_shard_size,
        )
        check_tensors(folder, tensors)
        release(model)
        compared = slice(0, _RELOADED_PASSES)
        difference = check_reload(
            folder,
            held_out[compared],
            after[compared],
            backend,
            dtype=str(dtype).removeprefix("torch."),
            model_type=loaded.spec.name if loaded.spec else None,
        )
        log.info(
            "Written and read again: every tensor is as it was packed."
            if difference is None
            else f"Written and read again: logits agree to {difference:.1g} (relative)."
        )
        report["reload_difference"] = difference
        write_report(report, folder)
        save_rejects(folder / REJECTS_FILE, order.samples.rejects)
        (folder / "args.json").write_text(json.dumps(dict(order.settings), indent=2) + "\n")
    order.folder.remove()
    return report


def _quantise(
    loaded: LoadedModel,
    blocks: Blocks,
    order: Order,
    rows: Sequence[Pass],
    device: torch.device,
    done: int,
) -> list[dict[str, Any]]:
    model: Any = loaded.model
    keep = next(blocks.modules(model)[0].parameters()).device
    calls = []
    if order.plan.method.reads_inputs:
        with streamed(model, blocks, device):
            calls = capture(model, blocks.modules(model), rows, keep=keep, name="calibration rows")
    job = Job(
        model, blocks, order.plan, order.quant, rows, device=device, keep=keep, folder=order.folder
    )
    return quantise_blocks(job, calls, done)


def judge(comparison: Comparison, order: Order) -> None:
    """Refuse a result that is too far from the original."""
    bound = order.quant.quant_max_kl
    if comparison.kl <= bound:
        return
    text = (
        f"{order.plan.title}: the result is {comparison.kl:.3g} nats a token away from the "
        f"original on held-out rows (perplexity {comparison.perplexity_before:.4g} -> "
        f"{comparison.perplexity_after:.4g}); --quant_max_kl is {bound:g}."
    )
    if not order.quant.force:
        raise ExportError(
            f"{text} Nothing was written. More bits, a smaller --group_size or more rows of the "
            "model's own kind help; --force true writes it as it is."
        )
    log.warn(f"{text} Written all the same (--force true).")


def release(model: Any) -> None:
    """Let go of a model's weights, so that the device has room for the one that is read again."""
    for part in (*model.parameters(), *model.buffers()):
        part.data = part.data.new_empty(0)


def _packed(folder: WorkFolder, blocks: int) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for index in range(blocks):
        tensors |= folder.load(index).packed
    return tensors


def bytes_of(tensors: Mapping[str, Tensor]) -> int:
    """Return the bytes of tensors, those that share memory once."""
    sizes = {
        tensor.data_ptr(): tensor.numel() * tensor.element_size() for tensor in tensors.values()
    }
    return sum(sizes.values())
