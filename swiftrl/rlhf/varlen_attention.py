"""Tree attention by a kernel for sequences of any lengths.

The trunk of a tree is a sequence: causal over itself. Each branch is one as well: its queries see
the trunk and the branch up to themselves, which is causal from the lower right corner of [branch,
trunk + branch]. So the row's queries run as they lie, and only keys are gathered, trunks once more
for each of their branches.

Shapes: T packed tokens, S gathered keys, H query heads, K key-value heads, D head width.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

import torch
import torch.nn.functional as F
from torch import Tensor

from swiftrl.backends.kernels import Sequences, VarlenAttention
from swiftrl.data.batch import TreeShape
from swiftrl.models.attention import Terms
from swiftrl.rlhf.fused_ops import result_dtype
from swiftrl.rlhf.tree_attention import Segments, sdpa_kernel

__all__ = ["Gathering", "VarlenKernel", "gathering"]


@dataclass(frozen=True, slots=True)
class Gathering:
    """A row of trees as sequences.

    Attributes:
        lengths: of the runs that the row is made of, none of them empty.
        keys: for the sequences, one after another, the runs that they see; None if every sequence
            sees its own queries alone.
        sequences: where they end.
    """

    lengths: tuple[int, ...]
    keys: tuple[int, ...] | None
    sequences: Sequences


def gathering(shapes: tuple[TreeShape, ...]) -> Gathering:
    """Plan the sequences of a row."""
    lengths: list[int] = []
    seen: list[tuple[int, ...]] = []

    def add(length: int, before: tuple[int, ...] = ()) -> tuple[int, ...]:
        if not length:
            return ()
        lengths.append(length)
        seen.append((*before, len(lengths) - 1))
        return (len(lengths) - 1,)

    for shape in shapes:
        if len(shape.branches) <= 1:
            add(shape.trunk + sum(shape.branches))
            continue
        trunk = add(shape.trunk)
        for length in shape.branches:
            add(length, trunk)
    per_sequence = (sum(lengths[run] for run in runs) for runs in seen)
    sequences = Sequences(tuple(accumulate(lengths)), tuple(accumulate(per_sequence)))
    plain = all(len(runs) == 1 for runs in seen)
    keys = None if plain else tuple(run for runs in seen for run in runs)
    return Gathering(tuple(lengths), keys, sequences)


@dataclass(frozen=True, slots=True)
class VarlenKernel:
    """Tree attention by `attention` where it knows how; elsewhere by `sdpa_kernel`."""

    attention: VarlenAttention

    def __call__(
        self, query: Tensor, key: Tensor, value: Tensor, segments: Segments, terms: Terms
    ) -> Tensor:
        """Map query [1, H, T, D] and key, value [1, K, T, D] to [1, T, H, D]."""
        dtype = result_dtype(torch.empty(0, dtype=value.dtype, device=value.device))
        if not self._knows(query, value, terms, dtype):
            return sdpa_kernel(query, key, value, segments, terms)
        # Lists of the host, made for the first layer of a batch.
        plan = segments.once("sequences", lambda: gathering(segments.shapes))
        width = value.shape[-1]
        query, key, value = (x[0].transpose(0, 1).to(dtype) for x in (query, key, value))
        if plan.keys is not None:
            # Split rather than sliced: a slice's gradient is as large as the whole row.
            key, value = (
                torch.cat([parts[run] for run in plan.keys])
                for parts in (key.split(plan.lengths), value.split(plan.lengths))
            )
        output = self.attention.run(
            query,
            key,
            F.pad(value, (0, query.shape[-1] - width)),
            plan.sequences,
            scaling=terms.scaling,
            window=terms.window,
            soft_cap=terms.soft_cap,
            sinks=terms.sinks,
            dropout=terms.dropout,
        )
        return output[None, ..., :width]

    def _knows(self, query: Tensor, value: Tensor, terms: Terms, dtype: torch.dtype) -> bool:
        can = self.attention
        return (
            str(dtype).removeprefix("torch.") in can.dtypes
            and value.shape[-1] <= query.shape[-1] <= can.widest
            and query.shape[1] <= can.most_heads
            and query.shape[2] > 0
            and (terms.soft_cap is None or can.soft_cap)
            and (terms.sinks is None or can.sinks)
        )
