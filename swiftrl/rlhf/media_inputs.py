"""What a multimodal backbone is given besides tokens: pictures, token types, positions.

Shapes: T packed tokens, B sequences, L longest sequence.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from swiftrl.data.batch import RowBatch, TreeBatch
from swiftrl.models.media_arguments import accepted, joined, token_types

__all__ = ["media_rows", "media_tree"]


def media_tree(lm: Any, backbone: Any, batch: TreeBatch) -> dict[str, Any]:
    """Return the arguments for the tree layout, each picture once a tree; none for text.

    Positions are those that the model itself would give each sequence (M-RoPE, arXiv:2409.12191,
    where it has a `get_rope_index`): the trunk's once, every branch's behind it.
    """
    if not batch.media:
        return {}
    types = token_types(lm.config, batch.token_ids)
    made = accepted(backbone, joined(batch.media, lm.dtype), types[None])
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
    made = accepted(backbone, joined(repeated, lm.dtype), types)
    if hasattr(backbone, "get_rope_index"):
        made["position_ids"] = None
    return made


def _positions(backbone: Any, batch: TreeBatch, types: Tensor) -> Tensor:
    """[3, 1, T] positions of a packed row.

    The model is asked once a tree: branches are text, whose positions rise by one from where the
    first branch begins.
    """
    positions = batch.positions.expand(3, -1).clone()
    begun: dict[int, Tensor] = {}
    for tree, trunk, branch in batch.sequences():
        if not batch.media[tree]:
            continue
        if tree in begun:
            onward = torch.arange(len(branch), device=positions.device)
            positions[:, branch] = begun[tree] + onward
            continue
        where = torch.cat([trunk, branch]).to(positions.device)
        found = _asked(backbone, batch.media[tree], batch.token_ids[where], types[where])
        # Some models place a film's frames between whole numbers.
        positions = positions.to(torch.promote_types(positions.dtype, found.dtype))
        positions[:, where] = found.to(positions.dtype)
        if len(branch):
            begun[tree] = found[:, len(trunk), None]
    return positions[:, None]


def _asked(backbone: Any, media: Mapping[str, Tensor], token_ids: Tensor, types: Tensor) -> Tensor:
    """Return the [3, L] positions that the model gives one sequence."""
    known = inspect.signature(backbone.get_rope_index).parameters
    own = {name: value for name, value in _told(media).items() if name in known}
    if "mm_token_type_ids" in known:
        own["mm_token_type_ids"] = types[None]
    found, _ = backbone.get_rope_index(
        input_ids=token_ids[None], attention_mask=torch.ones_like(token_ids)[None], **own
    )
    return found[:, 0]


def _told(media: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a tree's tensors, also by the names that `get_rope_index` of omni models has."""
    told = dict(media)
    if "video_second_per_grid" in media:
        told["second_per_grids"] = media["video_second_per_grid"]
    if "feature_attention_mask" in media:
        told["audio_seqlens"] = media["feature_attention_mask"].sum(-1)
    return told
