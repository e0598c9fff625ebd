"""What a multimodal backbone is given besides tokens: pictures, token types, positions.

Shapes: T packed tokens, B sequences, L longest sequence.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from swiftrl.data.batch import RowBatch, TreeBatch
from swiftrl.models.media_arguments import accepted, joined, token_types
from swiftrl.models.media_batch import row_arguments
from swiftrl.models.picture_rows import rows_apart

__all__ = ["RowCall", "media_rows", "media_tree"]


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


@dataclass(frozen=True, slots=True)
class RowCall:
    """What a model is called with for some of a batch's rows.

    Attributes:
        rows: [b] their indices.
        arguments: tokens, mask, positions and media, by name.
    """

    rows: Tensor
    arguments: dict[str, Any]


def media_rows(
    lm: Any, backbone: Any, batch: TreeBatch, rows: RowBatch, *, own_positions: bool = False
) -> list[RowCall]:
    """Return the calls of a backbone, or a model, for the rows layout, each picture once a row.

    Positions are those of each sequence alone: some models count the pictures of a whole batch.

    Args:
        lm: the model.
        backbone: what is called.
        batch: of trees.
        rows: of the batch.
        own_positions: leave positions to the model.
    """
    media = [
        tree
        for tree, shape in zip(batch.media or ({},) * len(batch.shapes), batch.shapes, strict=True)
        for _ in shape.branches
    ]
    replied = _replied(rows)
    calls = []
    for group in rows_apart(backbone, media):
        where = torch.tensor(group, device=rows.token_ids.device)
        shown = [media[row] for row in group]
        ids, mask = rows.token_ids[where], rows.attention_mask[where]
        made = row_arguments(backbone, ids, mask, shown, lm.dtype, replied[where])
        if not own_positions:
            made["position_ids"] = rows.positions[where]
            if any(shown) and hasattr(backbone, "get_rope_index"):
                made["position_ids"] = _row_positions(lm, backbone, shown, ids, mask)
        calls.append(RowCall(where, {"input_ids": ids, "attention_mask": mask, **made}))
    return calls


def _replied(rows: RowBatch) -> Tensor:
    """Return [B, L] 1 on what follows the prompt of each row: its first trained token and on."""
    width = rows.token_ids.shape[1]
    row, place = rows.source_index // width, rows.source_index % width
    last = torch.full_like(rows.token_ids[:, 0], width)
    last = last.scatter_reduce(0, row, place, "amin")
    column = torch.arange(width, device=last.device)
    return (column > last[:, None]).long()


def _row_positions(
    lm: Any, backbone: Any, media: Sequence[Mapping[str, Tensor]], ids: Tensor, mask: Tensor
) -> Tensor:
    """[axes, B, L] positions of padded rows."""
    types = token_types(lm.config, ids) * mask
    lengths = mask.sum(1).tolist()
    found = {
        row: _asked(backbone, shown, ids[row, : lengths[row]], types[row, : lengths[row]])
        for row, shown in enumerate(media)
        if shown
    }
    axes = len(next(iter(found.values())))
    # Some models place a film's frames between whole numbers.
    kind = functools.reduce(torch.promote_types, (own.dtype for own in found.values()))
    positions = (mask.cumsum(1) - 1).clamp_min(0).to(kind).expand(axes, -1, -1).clone()
    for row, own in found.items():
        positions[:, row, : own.shape[1]] = own
    return positions


def _positions(backbone: Any, batch: TreeBatch, types: Tensor) -> Tensor:
    """[axes, 1, T] positions of a packed row; most models have three axes.

    The model is asked once a tree: branches are text, whose positions rise by one from where the
    first branch begins.
    """
    positions = batch.positions[None]
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
        if len(positions) != len(found):
            positions = positions.expand(len(found), -1).clone()
        positions[:, where] = found.to(positions.dtype)
        if len(branch):
            begun[tree] = found[:, len(trunk), None]
    return positions[:, None]


def _asked(backbone: Any, media: Mapping[str, Tensor], token_ids: Tensor, types: Tensor) -> Tensor:
    """Return the [axes, L] positions that the model gives one sequence."""
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
