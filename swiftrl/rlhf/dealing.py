"""Rows dealt out so that every process, and every forward pass, gets about as many tokens."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

__all__ = ["deal", "passes_of", "sizes_of"]


def sizes_of(rows: int, parts: int) -> list[int]:
    """Return how many of `rows` each part takes, as even as can be, the larger ones first."""
    base, extra = divmod(rows, parts)
    return [base + (part < extra) for part in range(parts)]


def deal(tokens: Sequence[int], parts: int) -> list[list[int]]:
    """Deal rows to parts of equal numbers of rows (to one) and near-equal numbers of tokens.

    The longest row first, each to the part that has the fewest tokens of those with room: the
    usual greedy rule (Graham 1969), held to the number of rows. The result depends on the
    arguments alone.

    Returns:
        the rows' numbers, ascending, of each part.
    """
    room = sizes_of(len(tokens), parts)
    heap = [(0, part) for part in range(parts) if room[part]]
    dealt: list[list[int]] = [[] for _ in range(parts)]
    for row in sorted(range(len(tokens)), key=lambda row: (-tokens[row], row)):
        held, part = heapq.heappop(heap)
        dealt[part].append(row)
        if len(dealt[part]) < room[part]:
            heapq.heappush(heap, (held + tokens[row], part))
    return [sorted(part) for part in dealt]


def passes_of(
    tokens: Sequence[int], *, rank: int, world_size: int, micro_batch_size: int
) -> list[list[int]]:
    """Return which rows of an optimizer step each forward pass of a process takes.

    Args:
        tokens: of each row of the step.
        rank: of the process.
        world_size: processes.
        micro_batch_size: most rows of a pass.
    """
    mine = deal(tokens, world_size)[rank]
    passes = deal([tokens[row] for row in mine], -(-len(mine) // micro_batch_size) or 1)
    return [[mine[index] for index in taken] for taken in passes if taken]
