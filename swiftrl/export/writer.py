"""The quantised model as a folder that others load, read again before it is given out."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from swiftrl.backends.base import Backend
from swiftrl.core.errors import ExportError
from swiftrl.export.calibration import Pass
from swiftrl.export.method import Plan
from swiftrl.models.config import ModelConfig
from swiftrl.models.load import LoadedModel, load_model
from swiftrl.models.quantised import stored_quantisation
from swiftrl.models.resolve import resolve
from swiftrl.models.save import write_model

__all__ = ["check_reload", "check_tensors", "write_quantised"]

_TOLERANCE = {"float32": 1e-4, "bfloat16": 3e-2, "float16": 1e-2}
"""Largest relative difference of logits that the order of sums explains."""


def write_quantised(
    folder: Path,
    loaded: LoadedModel,
    plan: Plan,
    packed: Mapping[str, Tensor],
    layers: Sequence[str],
    skipped: Sequence[str],
    *,
    max_shard_size: str,
) -> None:
    """Write a model with some of its layers packed.

    Args:
        folder: exists.
        loaded: the model; the weights of `layers` are left out.
        plan: method and format.
        packed: tensors of `layers` by full name.
        layers: full names.
        skipped: linear layers that stay as they were.
        max_shard_size: size at which weights are split into files.
    """
    model: Any = loaded.model
    weights = model.state_dict()
    for name in layers:
        del weights[f"{name}.weight"]
    model.config.quantization_config = plan.format.to_config(plan.scheme, skipped)
    try:
        write_model(
            folder,
            model,
            loaded.tokenizer,
            processor=loaded.processor,
            source=loaded.path,
            max_shard_size=max_shard_size,
            state_dict={**weights, **packed},
        )
    finally:
        del model.config.quantization_config


def check_tensors(folder: Path, packed: Mapping[str, Tensor]) -> None:
    """Read written files again and find every packed tensor in them, whatever its name there.

    Raises:
        ExportError: one is absent, or not as it was packed.
    """
    found: set[str] = set()
    for path in folder.glob("*.safetensors"):
        with safe_open(path, "pt") as file:
            found |= {_digest(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118
    absent = [name for name, tensor in packed.items() if _digest(tensor) not in found]
    if absent:
        raise ExportError(
            f"the written files hold {absent[0]} otherwise than it was packed, as "
            f"{len(absent) - 1} more. Nothing was kept; look at the disk."
        )


def _digest(tensor: Tensor) -> str:
    flat = tensor.cpu().contiguous().view(-1).view(torch.uint8)
    kind = f"{tensor.dtype}{tuple(tensor.shape)}".encode()
    return hashlib.sha256(kind + flat.numpy().tobytes()).hexdigest()


@torch.no_grad()
def check_reload(
    folder: Path,
    rows: Sequence[Pass],
    expected: Sequence[Tensor],
    backend: Backend,
    *,
    dtype: str,
    model_type: str | None,
) -> float | None:
    """Load a written folder and compare its logits with those of the model in memory.

    Args:
        folder: that was written.
        rows: passes.
        expected: logits [T, V] of the passes.
        backend: where it is loaded.
        dtype: to compute in.
        model_type: the registry's name of the model, if it has one.

    Returns:
        the largest relative difference; None for a format that is only written here.

    Raises:
        ExportError: they differ by more than rounding.
    """
    resolved = resolve(str(folder), model_type=model_type)
    if stored_quantisation(resolved) is None:
        return None
    model: Any = load_model(resolved, ModelConfig(torch_dtype=dtype), backend).model
    worst = 0.0
    for row, logits in zip(rows, expected, strict=True):
        found = model(**row.arguments(model), use_cache=False).logits[0].float().cpu()
        wanted = logits.float()
        worst = max(worst, float((found - wanted).norm() / wanted.norm().clamp(min=1e-12)))
    limit = _TOLERANCE.get(dtype, 3e-2)
    if not worst <= limit:
        raise ExportError(
            f"the written files give other logits than the model in memory: relative difference "
            f"{worst:.2g}, expected at most {limit:g} in {dtype}. Nothing was kept; please report "
            "this with the model's config.json."
        )
    return worst
