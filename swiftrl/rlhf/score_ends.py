"""Where a sequence is scored: at its last token, as transformers' sequence classification does."""

from __future__ import annotations

from dataclasses import replace

import torch

from swiftrl.data.batch import TreeBatch

__all__ = ["at_ends"]


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
