"""The part of a checkpoint that plain transformers and plain PEFT load."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from swiftrl.models.quiet import quiet_transformers
from swiftrl.models.value_head import VALUE_HEAD

__all__ = ["CONFIG_FILE", "is_adapter", "save_model"]

CONFIG_FILE = "config.json"


def is_adapter(model: nn.Module) -> bool:
    """Return whether PEFT adapters sit on the model."""
    return hasattr(model, "peft_config") and hasattr(model, "base_model")


def save_model(
    model: Any,
    folder: Path,
    *,
    dtype: torch.dtype,
    companions: Sequence[Any] = (),
    state: Mapping[str, Tensor] | None = None,
) -> None:
    """Write the model, or its adapter alone, into `folder`.

    Args:
        model: of transformers or PEFT.
        folder: exists and is empty.
        dtype: of the trained weights of a full model; their float32 masters are no part of it.
        companions: tokenizer and processor: whatever has `save_pretrained`.
        state: the model's weights, where it does not hold them whole itself.
    """
    with quiet_transformers():
        if is_adapter(model):
            names = list(model.active_adapters)
            # Only what trains: adapters of the reference are no result of this run.
            model.save_pretrained(
                folder,
                selected_adapters=names,
                save_embedding_layers=False,
                **({} if state is None else {"state_dict": dict(state)}),
            )
        else:
            _save_full(model, folder, dtype, model.state_dict() if state is None else state)
    for companion in companions:
        if companion is not None:
            companion.save_pretrained(folder)


def _save_full(model: Any, folder: Path, dtype: torch.dtype, state: Mapping[str, Tensor]) -> None:
    trained = {name for name, value in model.named_parameters() if value.requires_grad}
    before = getattr(model.config, "dtype", None)
    # A critic's head is no part of the model; checkpoints keep it beside.
    written = {k: v for k, v in state.items() if not k.startswith(f"{VALUE_HEAD}.")}
    model.save_pretrained(folder, state_dict=_narrowed(written, trained, dtype))
    model.config.dtype = before
    path = folder / CONFIG_FILE
    config = json.loads(path.read_text(encoding="utf-8"))
    config["dtype"] = str(dtype).removeprefix("torch.")
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _narrowed(
    state: Mapping[str, Tensor], trained: set[str], dtype: torch.dtype
) -> dict[str, Tensor]:
    """Return the weights with the trained ones in `dtype`; tied ones stay one tensor."""
    storages = {state[name].data_ptr() for name in trained if name in state}
    made: dict[int, Tensor] = {}
    result = {}
    for name, value in state.items():
        pointer = value.data_ptr()
        if pointer in storages and value.is_floating_point():
            if pointer not in made:
                made[pointer] = value.detach().to(dtype)
            value = made[pointer].view_as(value)
        result[name] = value
    return result
