"""Prompts with other prompts' replies: what estimates how far a policy has moved (KTO, eq. 9)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

__all__ = ["Mismatched", "mismatched_rows"]


@dataclass(frozen=True, slots=True)
class _Sequence:
    token_ids: np.ndarray
    loss_weights: np.ndarray


@dataclass(frozen=True, slots=True)
class Mismatched:
    """A row's prompt with another row's reply; what `collate` takes."""

    sequences: tuple[_Sequence, ...]
    origin: Any
    columns: dict[str, float] = field(default_factory=dict)
    tensors: Any = None


def mismatched_rows(
    pick: Callable[[int], Any], mine: Sequence[int], first: int, stop: int
) -> list[Mismatched]:
    """Return one row for each position of `mine`: its prompt, the reply of an earlier row.

    The reply is that of the nearest row before it, going round within the optimizer step
    [first, stop), whose prompt is another one; so the estimate does not depend on how a step is
    divided. A position without such a row gives none. The reply is cut where the result would be
    longer than both rows.

    Args:
        pick: gives the encoded row at a position of the stream.
        mine: positions of this process.
        first: the step's first position.
        stop: one past its last.
    """
    size = stop - first
    rows = []
    for position in mine:
        own = pick(position)
        prompt = _prompt(own)
        for back in range(1, size):
            other = pick(first + (position - first - back) % size)
            if not np.array_equal(prompt, _prompt(other)):
                rows.append(_joined(own, other))
                break
    return rows


def _start(row: Any) -> int:
    """Return where a row's reply starts."""
    trained = np.flatnonzero(np.asarray(row.sequences[0].loss_weights) > 0)
    return int(trained[0]) if len(trained) else len(row.sequences[0].token_ids)


def _prompt(row: Any) -> np.ndarray:
    return np.asarray(row.sequences[0].token_ids)[: _start(row)]


def _joined(own: Any, other: Any) -> Mismatched:
    reply = other.sequences[0]
    prompt, start = _prompt(own), _start(other)
    longest = max(len(own.sequences[0].token_ids), len(reply.token_ids))
    ids = np.concatenate([prompt, np.asarray(reply.token_ids)[start:]])[:longest]
    weights = np.concatenate(
        [np.zeros(len(prompt), dtype=np.float32), np.asarray(reply.loss_weights)[start:]]
    )[:longest]
    return Mismatched((_Sequence(ids, weights),), own.origin, tensors=getattr(own, "tensors", None))
