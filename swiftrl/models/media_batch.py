"""What a multimodal model is given beside the tokens of a batch of rows.

Shapes: B rows, L tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from swiftrl.models.media_arguments import accepted, joined, reads_prompt_both_ways, token_types
from swiftrl.models.picture_rows import has_rows_of_pictures, picture_rows

__all__ = ["row_arguments"]


def row_arguments(
    module: Any,
    token_ids: Tensor,
    attention_mask: Tensor,
    media: Sequence[Mapping[str, Tensor]],
    dtype: torch.dtype,
    replied: Tensor | None = None,
) -> dict[str, Any]:
    """Return the arguments of a model or its backbone; none for text that needs none.

    Args:
        module: whose forward takes them.
        token_ids: [B, L]
        attention_mask: [B, L] 1 on tokens, 0 on padding.
        media: of each row, by the name of the argument; empty if no row has any.
        dtype: of pixels and sounds.
        replied: [B, L] 1 on a reply's tokens; unset, all are of the prompt.
    """
    config = module.config
    if reads_prompt_both_ways(module):
        types = torch.zeros_like(token_ids) if replied is None else replied
    elif not any(media):
        return {}
    else:
        types = token_types(config, token_ids) * attention_mask
    if not any(media):
        tensors: Mapping[str, Tensor] = {}
    elif has_rows_of_pictures(module):
        tensors = picture_rows(config, token_ids, media, dtype)
    else:
        tensors = joined(media, dtype)
    return accepted(module, tensors, types)
