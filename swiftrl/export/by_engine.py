"""Export with another package in our place: calibrated, compared and reported as by our own."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import nn

from swiftrl.backends.base import Backend
from swiftrl.core import log
from swiftrl.core.errors import ExportError
from swiftrl.core.files import atomic_directory
from swiftrl.data.rejects import REJECTS_FILE, save_rejects
from swiftrl.export.calibration import passes
from swiftrl.export.engine import run_engine
from swiftrl.export.layer_error import relative_error
from swiftrl.export.layers import find_blocks
from swiftrl.export.measure import compare, logits_of
from swiftrl.export.packing import packs
from swiftrl.export.pipeline import Order, bytes_of, judge, release
from swiftrl.export.placing import streamed
from swiftrl.export.report import report_of, write_report
from swiftrl.models.config import ModelConfig
from swiftrl.models.load import LoadedModel, load_model
from swiftrl.models.resolve import resolve
from swiftrl.models.save import copy_companions, save_model
from swiftrl.quant.linear import QuantLinear

__all__ = ["export_by_engine"]


def export_by_engine(
    loaded: LoadedModel, order: Order, backend: Backend, *, merged: bool
) -> dict[str, Any]:
    """Have another package quantise a model, compare what it wrote, and return the report.

    Args:
        loaded: the original; its weights are let go.
        order: what is to be made.
        backend: where it runs.
        merged: the weights are not those of the folder it came from: adapters are merged.

    Raises:
        ExportError: the package failed, or the result is too far from the original.
    """
    began, device = time.monotonic(), backend.current_device()
    model: Any = loaded.model
    dtype, size = str(model.dtype).removeprefix("torch."), bytes_of(model.state_dict())
    blocks = find_blocks(model, loaded.spec, order.quant.modules_to_not_convert)
    left = order.quant.modules_to_not_convert
    skipped = [name for name in blocks.skipped if any(f".{p}." in f".{name}." for p in left)]
    with streamed(model, blocks, device):
        together = packs(model, order.samples)
        held_out = passes(order.samples.held_out, order.quant.quant_batch_size, packed=together)
        before = logits_of(model, held_out, "the original on held-out rows")
    with tempfile.TemporaryDirectory() as work, atomic_directory(order.target) as folder:
        source = loaded.path
        if merged:
            source = Path(work) / "merged"
            save_model(source, model, loaded.tokenizer, processor=loaded.processor,
                       source=loaded.path)  # fmt: skip
        release(model)
        said = _run(order, source, folder, device=str(device), dtype=dtype, skipped=skipped)
        copy_companions(loaded.path, folder)
        result: Any = load_model(
            resolve(str(folder), model_type=loaded.spec.name if loaded.spec else None),
            ModelConfig(torch_dtype=dtype),
            backend,
        ).model
        records = list(_records(result, source))
        if not records:
            raise ExportError(
                f"--quant_backend {order.quant.quant_backend}: wrote no quantised layer. What it "
                f"said is in {said}."
            )
        after = logits_of(result, held_out[: len(before)], "the result on held-out rows")
        comparison = compare(held_out, before, after)
        names = {record["layer"] for record in records}
        report = report_of(
            order.plan,
            records,
            comparison,
            model=loaded.name,
            settings=order.settings,
            data=order.samples.sources,
            tokens=sum(len(row.sequences[0]) for row in order.samples.calibration),
            skipped=[n for n in (*blocks.layers, *blocks.skipped) if n not in names],
            sizes=(size, bytes_of(result.state_dict())),
            seconds=time.monotonic() - began,
            bound=order.quant.quant_max_kl,
        )
        judge(comparison, order)
        write_report(report, folder)
        save_rejects(folder / REJECTS_FILE, order.samples.rejects)
        (folder / "args.json").write_text(json.dumps(dict(order.settings), indent=2) + "\n")
    return report


def _run(
    order: Order, source: Path, folder: Path, *, device: str, dtype: str, skipped: Sequence[str]
) -> Path:
    """Have the package write a folder; return the file with what it said."""
    scheme, quant = order.plan.scheme, order.quant
    request = {
        "model": str(source.resolve()),
        "output": str(folder.resolve()),
        "rows": [row.sequences[0].token_ids.tolist() for row in order.samples.calibration],
        "method": order.plan.name,
        "format": order.plan.form,
        "bits": scheme.bits,
        "group_size": scheme.group_size,
        "symmetric": scheme.symmetric,
        "desc_act": quant.desc_act,
        "damp_percent": quant.damp_percent,
        "skipped": list(skipped),
        "device": device,
        "dtype": dtype,
        "max_shard_size": order.export.max_shard_size,
    }
    said = order.target.absolute().with_name(f"{order.target.name}.{quant.quant_backend}.log")
    log.info(f"{quant.quant_backend} quantises; what it says goes to {said}")
    run_engine(quant, request, said)
    said.with_suffix(".json").unlink()
    return said


def _records(result: nn.Module, source: Path) -> Iterator[Mapping[str, Any]]:
    """Yield each packed layer's error against the weight in the original's files."""
    with ExitStack() as stack:
        files = [stack.enter_context(safe_open(f, "pt")) for f in source.glob("*.safetensors")]
        places = {name: file for file in files for name in file.keys()}  # noqa: SIM118
        for name, layer in result.named_modules():
            file = places.get(f"{name}.weight")
            if not isinstance(layer, QuantLinear):
                continue
            after = layer.unpacked(torch.float32).cpu()
            error = float("nan")
            if file is not None:
                error = relative_error(file.get_tensor(f"{name}.weight").float(), after, None)
            yield {"layer": name, "relative_error": error, "error_of": "weights", "tokens": None}
