"""Models with a head of scores instead of one of words: transformers' sequence classification."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swiftrl.core.errors import ModelError
from swiftrl.models.folder import ADAPTER_CONFIG, read_json, safetensors_header
from swiftrl.models.resolve import Resolved

if TYPE_CHECKING:
    from torch import nn

__all__ = ["SCORE_HEAD", "score_class", "score_head", "scores_in", "scores_tokens"]

_ENDINGS = ("ForSequenceClassification", "ForTokenClassification")
SCORE_HEAD = "score"
"""What transformers calls the head of a decoder for sequence classification."""


def score_head(model: Any) -> nn.Module | None:
    """Return the head of scores of a model of transformers, or None if it has none."""
    from torch import nn

    head = getattr(model, SCORE_HEAD, None)
    return head if isinstance(head, nn.Module) else None


def scores_in(resolved: Resolved, adapters: Sequence[str | Path] = ()) -> int | None:
    """Return how many scores a model or its adapters give, or None where they write text."""
    for folder in adapters:
        weights = safetensors_header(Path(folder) / "adapter_model.safetensors")
        for name, entry in weights.items():
            if name.endswith(f".{SCORE_HEAD}.weight"):
                return int(entry["shape"][0])
    if (resolved.architecture or "").endswith(_ENDINGS):
        # transformers leaves the number out of config.json where it is 2.
        labels = resolved.config.get("id2label")
        return resolved.config.get("num_labels") or len(labels or "01")
    return None


def scores_tokens(resolved: Resolved, adapters: Sequence[str | Path] = ()) -> bool:
    """Return whether a model or its adapters score every token (a process reward model)."""
    if any(read_json(Path(folder) / ADAPTER_CONFIG).get("task_type") == "TOKEN_CLS"
           for folder in adapters):  # fmt: skip
        return True
    return (resolved.architecture or "").endswith("ForTokenClassification")


def score_class(resolved: Resolved, *, tokens: bool = False) -> Any:
    """Return transformers' class for scores over the backbone of a model.

    Args:
        resolved: its folder.
        tokens: scores of every token.

    Raises:
        ModelError: transformers has none for this type of model, or one of another make.
    """
    import transformers
    from transformers.models.auto import modeling_auto

    model_type = str(resolved.config.get("model_type"))
    names = (
        modeling_auto.MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES
        if tokens
        else modeling_auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES
    )
    found = getattr(transformers, str(names.get(model_type)), None)
    if found is None:
        raise ModelError(
            f"{resolved.path}: transformers {transformers.__version__} has no "
            f"{'token' if tokens else 'sequence'} classification for model_type {model_type!r}, so "
            f"that nothing could load a reward model of it. It has one for "
            f"{', '.join(sorted(_decoders(names)))}."
        )
    return found


def _decoders(names: Any) -> set[str]:
    from transformers.models.auto import modeling_auto

    writes = {
        *modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        *modeling_auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
    }
    return writes & set(names)
