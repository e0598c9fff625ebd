"""A model's way through files: saved, recognised, loaded."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from tiny_models import make_tokenizer
from zoo_case import Case
from zoo_checks import close, require

from swiftrl.backends.detect import detect
from swiftrl.models.catalog import by_architecture
from swiftrl.models.config import ModelConfig
from swiftrl.models.load import load_model
from swiftrl.models.resolve import resolve
from swiftrl.models.save import save_model

__all__ = ["save_and_load"]


def save_and_load(case: Case) -> None:
    """A saved folder is recognised as of a family of the architecture and loads to the same."""
    model, ids = case.model(), case.text(12)
    with tempfile.TemporaryDirectory() as parent, torch.no_grad():
        wanted = model(input_ids=ids, use_cache=False).logits
        folder = Path(parent) / case.spec.name
        save_model(folder, model, make_tokenizer())
        named = by_architecture(case.architecture)
        # A bare folder need not tell families of one architecture apart.
        chosen = None if len(named) == 1 else case.spec.name
        resolved = resolve(str(folder), model_type=chosen)
        require(resolved.spec == case.spec, f"recognised as {resolved.spec}")
        loaded = load_model(resolved, ModelConfig(torch_dtype="float32"), detect("cpu")).model
        require(type(loaded) is type(model), f"loaded as {type(loaded).__name__}")
        close(loaded(input_ids=ids, use_cache=False).logits, wanted, 1e-5, "logits after loading")
