"""Arguments of models that give each row of a batch pictures of its own, seen in cross-attention.

Such a model (Llama 3.2 Vision, arXiv:2407.21783, section 7) has one placeholder a picture, holds
pictures by row and not one after another, and wants to be told which tokens look at which tile.
Text alone skips the cross-attention; transformers has no mask that does the same for a row, so
that rows with and without a picture go through apart.

Shapes: B rows, L tokens, P pictures of a row, T tiles of a picture.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from swiftrl.models.media_arguments import joined, placeholder

__all__ = ["has_rows_of_pictures", "picture_rows", "rows_apart"]


def has_rows_of_pictures(module: Any) -> bool:
    """Return whether a model or its backbone takes pictures row by row."""
    known = inspect.signature(type(module).forward).parameters
    return {"cross_attention_mask", "aspect_ratio_mask"} <= known.keys()


def rows_apart(module: Any, media: Sequence[Any]) -> list[list[int]]:
    """Return the rows that a model takes in one call: all of them, for most models.

    Args:
        module: a model or its backbone.
        media: of each row.
    """
    every = list(range(len(media)))
    if not has_rows_of_pictures(module):
        return [every]
    groups = [[row for row in every if bool(media[row]) is shown] for shown in (False, True)]
    return [group for group in groups if group]


def picture_rows(
    config: Any, token_ids: Tensor, media: Sequence[Mapping[str, Tensor]], dtype: torch.dtype
) -> dict[str, Tensor]:
    """Return the tensors of all rows, each with a picture, and which token sees which tile.

    Args:
        config: the model's.
        token_ids: [B, L]
        media: of each row, none empty; `aspect_ratio_mask` [1, P, T] is 1 on a picture's own tiles.
        dtype: of pixels.
    """
    tensors = joined(media, dtype)
    tiles = tensors["aspect_ratio_mask"]
    token = placeholder(config, "image")
    seen = torch.stack([_seen(ids == token, tiles.shape[1]) for ids in token_ids])
    return {**tensors, "cross_attention_mask": seen[..., None] * tiles[:, None]}


def _seen(is_picture: Tensor, count: int) -> Tensor:
    """Return [L, P] which pictures each token of a row looks at.

    A picture is seen from its placeholder to the next one; pictures in a row of placeholders are
    seen together (`get_cross_attention_token_mask` of transformers' Mllama processor).
    """
    number = is_picture.long().cumsum(0) - 1
    before = torch.cat([is_picture.new_zeros(1), is_picture[:-1]])
    group = (is_picture & ~before).long().cumsum(0)
    groups = group[is_picture]
    which = torch.arange(len(groups), device=is_picture.device)
    seen = (groups[None] == group[:, None]) & (which[None] <= number[:, None])
    padded = seen.new_zeros(len(is_picture), count)
    padded[:, : len(groups)] = seen[:, :count]
    return padded.long()
