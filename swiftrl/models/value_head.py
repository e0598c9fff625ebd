"""A head of values on a model that keeps its head of words: a critic that shares the backbone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

__all__ = ["VALUE_HEAD", "add_value_head", "value_head"]

VALUE_HEAD = "value_head"
"""Its name on the outermost module. It trains, and is no part of the model's files."""


def add_value_head(model: Any) -> None:
    """Put a linear head, zero at first, on a causal language model or its PEFT wrapper."""
    import torch
    from torch import nn

    width = model.config.get_text_config(decoder=True).hidden_size
    device = model.get_input_embeddings().weight.device
    head = nn.Linear(width, 1, device=device, dtype=torch.float32)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    setattr(model, VALUE_HEAD, head)


def value_head(model: Any) -> nn.Module | None:
    """Return the head of values, or None if the model has none."""
    return getattr(model, VALUE_HEAD, None)
