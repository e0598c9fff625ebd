"""The quantised model as a folder that others load, read again before it is given out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from swiftrl.export.method import Plan
from swiftrl.models.load import LoadedModel
from swiftrl.models.save import write_model

__all__ = ["write_quantised"]


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
