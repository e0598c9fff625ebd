"""Arguments of a multimodal model made of its media's tensors and its tokens."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["accepted", "joined", "placeholder", "reads_prompt_both_ways", "token_types"]

_KINDS = (("image", 1), ("video", 2), ("audio", 3))


def placeholder(config: Any, kind: str) -> int | None:
    """Return the id of the token that stands for a part of a medium, or None."""
    for name in (f"{kind}_token_id", f"{kind}_token_index"):
        if isinstance(token := getattr(config, name, None), int):
            return token
    return None


def reads_prompt_both_ways(module: Any) -> bool:
    """Return whether a model or its backbone reads a prompt in both directions (PaliGemma).

    Its token types say then what is prompt and what is reply; elsewhere they say what is a medium.
    """
    text = module.config.get_text_config(decoder=True)
    takes_types = "token_type_ids" in inspect.signature(type(module).forward).parameters
    return takes_types and getattr(text, "use_bidirectional_attention", None) is True


def token_types(config: Any, token_ids: Tensor) -> Tensor:
    """Return for each token 0 (text), 1 (picture), 2 (film) or 3 (sound), int64, as transformers.

    Args:
        config: the model's.
        token_ids: of any shape.
    """
    types = torch.zeros_like(token_ids)
    for kind, number in _KINDS:
        if (token := placeholder(config, kind)) is not None:
            types = types.masked_fill(token_ids == token, number)
    start, end = (getattr(config, f"video_{name}_token_id", None) for name in ("start", "end"))
    if isinstance(start, int) and isinstance(end, int):
        # GLM-V has one placeholder for both, and marks around films (GLM4vProcessor).
        filmed = (token_ids == start).cumsum(-1) > (token_ids == end).cumsum(-1)
        types = types.masked_fill(filmed & (types == 1), 2)
    return types


def accepted(module: Any, tensors: Mapping[str, Tensor], types: Tensor) -> dict[str, Any]:
    """Return those of the tensors that a module's forward takes, and the token types if it does.

    Args:
        module: a model or its backbone.
        tensors: by the name of the argument.
        types: of `token_types`.
    """
    known = inspect.signature(type(module).forward).parameters
    made: dict[str, Any] = {name: value for name, value in tensors.items() if name in known}
    for name in ("mm_token_type_ids", "token_type_ids"):
        if name in known:
            made[name] = types
    if tensors and "sample" in known:
        # Noise on a sound (VibeVoice) would set policy and reference apart.
        made["sample"] = False
    return made


def joined(rows: Iterable[Mapping[str, Tensor]], dtype: torch.dtype) -> dict[str, Tensor]:
    """Return the tensors of several rows as one batch, floating ones in `dtype`."""
    parts: dict[str, list[Tensor]] = {}
    for row in rows:
        for name, tensor in row.items():
            wanted = tensor.to(dtype) if tensor.is_floating_point() else tensor
            parts.setdefault(name, []).append(wanted)
    return {
        name: torch.cat(tensors, dim=-1) if _in_a_strip(name, tensors, parts) else _stacked(tensors)
        for name, tensors in parts.items()
    }


def _in_a_strip(
    name: str, tensors: Sequence[Tensor], parts: Mapping[str, Sequence[Tensor]]
) -> bool:
    """Return whether pixels [1, C, p, patches * p] lie patch by patch (MiniCPM-V)."""
    if not name.startswith("pixel_values"):
        return False
    sizes = parts.get(name.replace("pixel_values", "target_sizes"), ())
    return len(sizes) == len(tensors) and all(
        tensor.ndim == 4
        and tensor.shape[0] == 1
        and int(size.prod(-1).sum()) * tensor.shape[2] == tensor.shape[3]
        for tensor, size in zip(tensors, sizes, strict=True)
    )


def _stacked(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat(_padded(tensors))


def _padded(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Pad all dimensions but the first with zeros to the largest, as processors do in a batch."""
    shapes = [tensor.shape[1:] for tensor in tensors]
    if len(set(shapes)) == 1:
        return list(tensors)
    largest = [max(sizes) for sizes in zip(*shapes, strict=True)]
    padded = []
    for tensor in tensors:
        missing = [full - size for full, size in zip(largest, tensor.shape[1:], strict=True)]
        padded.append(F.pad(tensor, [n for amount in reversed(missing) for n in (0, amount)]))
    return padded
