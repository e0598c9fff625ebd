"""How far a model is from what it was: perplexity, divergence and agreement on held-out rows.

Shapes: T tokens of a pass, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from swiftrl.core import log
from swiftrl.core.errors import ExportError
from swiftrl.export.calibration import Pass
from swiftrl.export.finite import where_not_finite

__all__ = ["Comparison", "compare", "logits_of"]

_CHUNK = 256
_MOST_BYTES = 2 * 2**30
"""Of logits of the original that are kept."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """The original and the result on held-out rows.

    Attributes:
        perplexity_before: of the original.
        perplexity_after: of the result.
        kl: mean over tokens of KL(original || result), nats.
        agreement: share of tokens where both think the same next token likeliest.
        tokens: that were compared.
        rows: that were compared.
    """

    perplexity_before: float
    perplexity_after: float
    kl: float
    agreement: float
    tokens: int
    rows: int


@torch.no_grad()
def logits_of(model: Any, rows: Sequence[Pass], name: str) -> list[Tensor]:
    """Return the logits [T, V] of passes, on the host, in the model's type.

    They end with the pass that reaches 2 GiB, which is said.

    Args:
        model: of transformers.
        rows: what runs.
        name: of the progress line.

    Raises:
        ExportError: a row makes NaN or infinity.
    """
    kept: list[Tensor] = []
    size = 0
    progress = log.Progress(name, len(rows))
    for count, row in enumerate(rows, start=1):
        found = model(**row.arguments(model), use_cache=False).logits[0]
        if not bool(torch.isfinite(found).all()):
            raise ExportError(where_not_finite(model, row))
        kept.append(found.cpu())
        size += found.numel() * found.element_size()
        progress.update(count)
        if size > _MOST_BYTES and count < len(rows):
            log.info(
                f"{count} of {len(rows)} held-out passes are compared: their logits fill 2 GiB."
            )
            break
    progress.close()
    return kept


def compare(rows: Sequence[Pass], before: Sequence[Tensor], after: Sequence[Tensor]) -> Comparison:
    """Compare two models' logits [T, V] of the same passes."""
    divergence = agreed = 0.0
    loss = [0.0, 0.0]
    tokens = predicted = 0
    for row, one, other in zip(rows, before, after, strict=False):
        targets, known = torch.roll(row.token_ids, -1), torch.roll(row.counted, -1)
        for start in range(0, len(targets), _CHUNK):
            part = slice(start, start + _CHUNK)
            p, q = (logits[part].float().log_softmax(-1) for logits in (one, other))
            divergence += float((p.exp() * (p - q)).sum(-1).clamp(min=0).sum())
            agreed += int((p.argmax(-1) == q.argmax(-1)).sum())
            for index, log_p in enumerate((p, q)):
                picked = log_p.gather(-1, targets[part, None])[:, 0]
                loss[index] -= float(picked[known[part]].sum())
        tokens += len(targets)
        predicted += int(known.sum())
    counted = rows[: len(before)]
    return Comparison(
        math.exp(loss[0] / max(predicted, 1)),
        math.exp(min(loss[1] / max(predicted, 1), 700)),
        divergence / max(tokens, 1),
        agreed / max(tokens, 1),
        tokens,
        sum(len(row.lengths) for row in counted),
    )
