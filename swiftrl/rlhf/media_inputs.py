"""What a multimodal backbone is given besides tokens: pictures, token types, positions.

Shapes: T packed tokens, B sequences, L longest sequence.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from swiftrl.data.batch import RowBatch, TreeBatch

__all__ = ["media_rows", "media_tree", "token_types"]

_KINDS = (("image", 1), ("video", 2), ("audio", 3))


def media_tree(lm: Any, backbone: Any, batch: TreeBatch) -> dict[str, Any]:
    """Return the arguments for the tree layout, each picture once a tree; none for text.

    Positions are those that the model itself would give each sequence (M-RoPE, arXiv:2409.12191,
    where it has a `get_rope_index`): the trunk's once, every branch's behind it.
    """
    if not batch.media:
        return {}
    types = token_types(lm.config, batch.token_ids)
    made = _accepted(backbone, _joined(batch.media, lm.dtype), types[None])
    if hasattr(backbone, "get_rope_index"):
        made["position_ids"] = _positions(backbone, batch, types)
    return made


def media_rows(lm: Any, backbone: Any, batch: TreeBatch, rows: RowBatch) -> dict[str, Any]:
    """Return the arguments for the rows layout, each picture once a sequence; none for text.

    `position_ids` is None where the model is to find the positions itself.
    """
    if not batch.media:
        return {}
    repeated = [
        tree for tree, shape in zip(batch.media, batch.shapes, strict=True) for _ in shape.branches
    ]
    types = token_types(lm.config, rows.token_ids) * rows.attention_mask
    made = _accepted(backbone, _joined(repeated, lm.dtype), types)
    if hasattr(backbone, "get_rope_index"):
        made["position_ids"] = None
    return made


def token_types(config: Any, token_ids: Tensor) -> Tensor:
    """Return for each token 0 (text), 1 (picture), 2 (film) or 3 (sound), int64, as transformers.

    Args:
        config: the model's.
        token_ids: of any shape.
    """
    types = torch.zeros_like(token_ids)
    for kind, number in _KINDS:
        for name in (f"{kind}_token_id", f"{kind}_token_index"):
            token = getattr(config, name, None)
            if isinstance(token, int):
                types = types.masked_fill(token_ids == token, number)
                break
    return types


def _accepted(backbone: Any, tensors: dict[str, Tensor], types: Tensor) -> dict[str, Any]:
    known = inspect.signature(type(backbone).forward).parameters
    made: dict[str, Any] = {name: value for name, value in tensors.items() if name in known}
    for name in ("mm_token_type_ids", "token_type_ids"):
        if name in known:
            made[name] = types
    return made


def _joined(trees: Iterable[Mapping[str, Tensor]], dtype: torch.dtype) -> dict[str, Tensor]:
    parts: dict[str, list[Tensor]] = {}
    for tree in trees:
        for name, tensor in tree.items():
            wanted = tensor.to(dtype) if tensor.is_floating_point() else tensor
            parts.setdefault(name, []).append(wanted)
    return {name: torch.cat(_padded(tensors)) for name, tensors in parts.items()}


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


def _positions(backbone: Any, batch: TreeBatch, types: Tensor) -> Tensor:
    """[3, 1, T] positions of a packed row."""
    positions = batch.positions.expand(3, -1).clone()
    known = inspect.signature(backbone.get_rope_index).parameters
    for tree, trunk, branch in batch.sequences():
        if not batch.media[tree]:
            continue
        where = torch.cat([trunk, branch]).to(positions.device)
        own = {name: value for name, value in batch.media[tree].items() if name in known}
        if "mm_token_type_ids" in known:
            own["mm_token_type_ids"] = types[where][None]
        found, _ = backbone.get_rope_index(
            input_ids=batch.token_ids[where][None],
            attention_mask=torch.ones_like(where)[None],
            **own,
        )
        positions[:, where] = found[:, 0]
    return positions[:, None]
