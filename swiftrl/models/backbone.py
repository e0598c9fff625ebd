"""Where the hidden states of a causal language model come from, its head aside."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from swiftrl.core.errors import ModelError
from swiftrl.models.heads import score_head

__all__ = ["Backbone", "backbone_of", "head_of", "text_part"]


@dataclass(frozen=True, slots=True)
class Backbone:
    """What runs, whose output is read, and what it goes into.

    Attributes:
        reads: takes tokens and media.
        gives: its last hidden states go into the head. Most often the same module; where the
            whole model holds a language model with its head (Nemotron Omni), the backbone of that.
        head: from hidden states to the vocabulary, or to scores.
    """

    reads: Any
    gives: nn.Module
    head: Any

    def __call__(self, **arguments: Any) -> Tensor:
        """Return the last hidden states [B, L, D]."""
        if self.reads is self.gives:
            return self.reads(**arguments).last_hidden_state
        kept: list[Tensor] = []
        hook = self.gives.register_forward_hook(lambda _, __, out: kept.append(_hidden(out)))
        try:
            # The head is not read: one token's logits are the fewest there can be.
            self.reads(**arguments, logits_to_keep=1)
        finally:
            hook.remove()
        return kept[-1]


def _hidden(output: Any) -> Tensor:
    return output.last_hidden_state if hasattr(output, "last_hidden_state") else output[0]


def backbone_of(lm: Any) -> Backbone:
    """Return the backbone of a model of transformers.

    Raises:
        ModelError: it has none.
    """
    if (own := _named(lm)) is not None and (head := _own_head(lm)) is not None:
        return Backbone(own, own, head)
    part = _writer(lm)
    if part is not None and (inner := _named(part)) is not None and _passes_on(lm):
        return Backbone(lm, inner, part.get_output_embeddings())
    raise ModelError(
        f"{type(lm).__name__}: found no backbone under {lm.base_model_prefix!r} or 'model', nor a "
        "language model in it that has one. Only causal language models made of a backbone and a "
        "head can be trained."
    )


def head_of(lm: Any) -> nn.Module | None:
    """Return the head of a model of transformers, of words or of scores, or None."""
    if (head := _own_head(lm)) is not None:
        return head
    part = _writer(lm)
    return part.get_output_embeddings() if part is not None else None


def text_part(lm: Any) -> nn.Module:
    """Return the language model inside a multimodal one: what takes text and media merged.

    Raises:
        ModelError: no part goes by the text's configuration.
    """
    text = lm.config.get_text_config(decoder=True)
    for part in lm.modules():
        own = part is not lm and getattr(part, "config", None) is text
        if own and "inputs_embeds" in inspect.signature(type(part).forward).parameters:
            return part
    raise ModelError(
        f"{type(lm).__name__}: found no language model in it that takes text and media merged."
    )


def _own_head(lm: Any) -> Any | None:
    head = lm.get_output_embeddings()
    return score_head(lm) if head is None else head


def _writer(lm: Any) -> Any | None:
    """Return the child that is a language model with its head, or None."""
    for part in lm.children():
        if getattr(part, "can_generate", bool)() and part.get_output_embeddings() is not None:
            return part
    return None


def _named(lm: Any) -> nn.Module | None:
    for name in (lm.base_model_prefix, "model", "transformer"):
        backbone = getattr(lm, name, None) if name else None
        if isinstance(backbone, nn.Module):
            return backbone
    return None


def _passes_on(lm: Any) -> bool:
    """Return whether what a model's forward does not know goes to its language model."""
    known = inspect.signature(type(lm).forward).parameters.values()
    return any(p.kind is p.VAR_KEYWORD or p.name == "logits_to_keep" for p in known)
