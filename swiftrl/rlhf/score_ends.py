"""Where scores are read: at a sequence's last token, or at tokens that count themselves.

The first is what transformers' sequence classification does, the second its token classification.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from swiftrl.data.batch import TreeBatch

__all__ = ["at_ends", "at_tokens"]


def at_ends(batch: TreeBatch) -> TreeBatch:
    """Return the batch with one place to read for each of its B sequences, its last token.

    `target_ids` have no meaning there.
    """
    ends = []
    for shape in batch.shapes:
        place = shape.start + shape.trunk
        for branch in shape.branches:
            ends.append(place + branch - 1 if branch else shape.start + shape.trunk - 1)
            place += branch
    device = batch.token_ids.device
    source = torch.tensor(ends, dtype=torch.int64, device=device)
    return replace(
        batch,
        source_index=source,
        target_ids=torch.zeros_like(source),
        sequence_index=torch.arange(len(ends), device=device),
        weights=torch.ones(len(ends), device=device),
        token_values={},
    )


def at_tokens(batch: TreeBatch) -> TreeBatch:
    """Return the batch with each of its N trained tokens read at itself, not at the one before.

    Every tree must have a single branch: there alone a token stands behind what predicts it.
    """
    assert all(len(shape.branches) == 1 for shape in batch.shapes)
    return replace(batch, source_index=batch.source_index + 1)
