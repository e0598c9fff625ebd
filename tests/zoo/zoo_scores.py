"""What must hold of models that score or embed text, which the package lists and does not train."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tiny_models import make_tokenizer
from torch import Tensor
from zoo_case import Case
from zoo_require import close, require

from swiftrl.models.identify import identify
from swiftrl.models.save import save_model

__all__ = ["CHECKS", "REASON"]

REASON = (
    "scores or embeds text and writes none: it runs and reloads, and no command here trains or "
    "serves it"
)


def forward(case: Case) -> None:
    """Scores or embeddings are finite, depend on the tokens, and not on padding."""
    model, ids = case.model(), case.text(12, rows=2)
    whole = _output(model, ids)
    require(whole.isfinite().all(), "scores are not finite")
    other = _output(model, case.text(12, rows=2, seed=9))
    require((other - whole).abs().max() > 1e-4, "scores do not depend on tokens")
    padding = model.config.pad_token_id
    padded = torch.cat([ids, torch.full((2, 4), padding)], dim=1)
    found = _output(model, padded, (torch.arange(16) < 12).long().expand(2, -1))
    close(found[:, :12] if found.ndim > 2 else found, whole, 1e-4, "scores of padded rows")


def save_and_load(case: Case) -> None:
    """A saved folder is recognised as of a family of the architecture and loads to the same."""
    model, ids = case.model(), case.text(12, rows=2)
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / case.spec.name
        save_model(folder, model, make_tokenizer())
        require(identify(str(folder)) == case.spec, f"recognised as {identify(str(folder))}")
        loaded = case.model_class.from_pretrained(folder, dtype=torch.float32).eval()
        close(_output(loaded, ids), _output(model, ids), 1e-5, "scores after loading")


def _output(model: Any, ids: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return scores [B, labels], or embeddings of tokens [B, L, D]."""
    mask = torch.ones_like(ids) if mask is None else mask
    with torch.no_grad():
        output = model(input_ids=ids, attention_mask=mask)
    return output.logits if hasattr(output, "logits") else output.last_hidden_state


CHECKS: dict[str, Callable[[Case], None]] = {"forward": forward, "save and load": save_and_load}
