"""A model's way through files: saved, recognised, loaded."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
from tiny_models import make_tokenizer
from zoo_case import Case
from zoo_require import close, require

from swiftrl.backends.detect import detect
from swiftrl.models.catalog import by_architecture
from swiftrl.models.config import ModelConfig
from swiftrl.models.load import load_model
from swiftrl.models.media_arguments import accepted, token_types
from swiftrl.models.resolve import resolve
from swiftrl.models.save import save_model

__all__ = ["save_and_load"]


def save_and_load(case: Case) -> None:
    """A saved folder is recognised as of a family of the architecture and loads to the same."""
    model = case.model()
    with tempfile.TemporaryDirectory() as parent, torch.no_grad():
        wanted = _logits(case, model)
        folder = Path(parent) / case.spec.name
        save_model(folder, case.published(model), make_tokenizer())
        named = by_architecture(case.architecture)
        # A bare folder need not tell families of one architecture apart.
        chosen = None if len(named) == 1 else case.spec.name
        resolved = resolve(str(folder), model_type=chosen)
        require(resolved.spec == case.spec, f"recognised as {resolved.spec}")
        loaded = load_model(resolved, ModelConfig(torch_dtype="float32"), detect("cpu")).model
        require(type(loaded) is type(model), f"loaded as {type(loaded).__name__}")
        close(_logits(case, loaded), wanted, 1e-5, "logits after loading")


def _logits(case: Case, model: Any) -> torch.Tensor:
    """Return logits of text, and of each medium, in a row."""
    found = [model(input_ids=case.text(12), use_cache=False).logits]
    for shown in case.media.values():
        ids = torch.tensor([shown.token_ids])
        given = accepted(model, shown.tensors, token_types(model.config, ids))
        found.append(model(input_ids=ids, use_cache=False, **given).logits)
    return torch.cat(found, dim=1)
