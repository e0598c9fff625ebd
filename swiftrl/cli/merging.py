"""Adapters folded into their base, and the written folder read again before it is given out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from swiftrl.core import log
from swiftrl.core.errors import ExportError
from swiftrl.models.config import ModelConfig

if TYPE_CHECKING:
    from peft import PeftModel
    from torch import Tensor

__all__ = ["merge_checked"]

_TOLERANCE = 1e-3
"""Largest relative difference of logits; the same weights give the same ones but for threads."""

_PROBE = "The capital of France is 1 + 2 = 3. 你好"


def merge_checked(config: ModelConfig, target: Path, max_shard_size: str) -> None:
    """Write a model with its adapters folded in, load it again and compare its logits.

    Args:
        config: model and adapters.
        target: folder of the result; it appears whole or not at all.
        max_shard_size: size at which weights are split into files.

    Raises:
        ExportError: the written files give other logits.
    """
    from swiftrl.cli.loading import find_model, load
    from swiftrl.core.files import atomic_directory
    from swiftrl.models.lora import merge
    from swiftrl.models.save import write_model

    loaded = load(config, find_model(config), as_stored=True)
    merged: Any = merge(cast("PeftModel", loaded.model))
    ids = loaded.tokenizer(_PROBE, return_tensors="pt")["input_ids"]
    wanted = _logits(merged, ids)
    with atomic_directory(target) as folder:
        write_model(
            folder, merged, loaded.tokenizer, processor=loaded.processor, source=loaded.path,
            max_shard_size=max_shard_size,
        )  # fmt: skip
        del merged, loaded
        again = ModelConfig(
            model=str(folder), torch_dtype=config.torch_dtype, device_map=config.device_map
        )
        found = _logits(load(again, find_model(again), as_stored=True).model, ids)
        worst = float((found - wanted).norm() / wanted.norm().clamp(min=1e-12))
        if not worst <= _TOLERANCE:
            raise ExportError(
                f"the written files give other logits than the merged model in memory: relative "
                f"difference {worst:.2g}. Nothing was kept; look at the disk."
            )
    log.info(f"Merged, written and read again: logits agree to {worst:.1g} (relative): {target}")


def _logits(model: Any, ids: Tensor) -> Tensor:
    import torch

    model.eval()
    device = next(model.parameters()).device
    with torch.no_grad():
        return model(input_ids=ids.to(device), use_cache=False).logits.float().cpu()
