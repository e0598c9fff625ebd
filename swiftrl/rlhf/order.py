"""Which rows an optimizer step takes, and which of them this process and this forward pass.

Rows form one long stream: the first epoch's permutation, then the second's, and so on. Step s
takes the rows [s * G, (s + 1) * G) of the stream, G being the global batch. The stream depends on
the seed alone, so that the number of rows consumed says all that a resumed run must know, however
many processes it has.

Several processes share a step's rows by their numbers of tokens (`swiftrl.rlhf.dealing`): sums
over a step do not depend on who has which row.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Protocol

import numpy as np

from swiftrl.core.errors import DataError
from swiftrl.data.batch import TreeBatch, make_tree, pack
from swiftrl.data.mix import permutation
from swiftrl.rlhf.contrast import mismatched_rows
from swiftrl.rlhf.dealing import passes_of

__all__ = ["Feed", "MicroBatch", "Rows", "collate", "epoch_permutation", "share_of"]

STEPS_AHEAD = 2
EPOCHS = 1_000_003
"""More than any run has, so that no two (seed, epoch) share an order."""


class Rows(Protocol):
    """Encoded rows that can be picked by number."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """The rows of one forward pass.

    Attributes:
        batch: the rows folded into trees, on the host.
        position: of the first row in the stream; with the seed it decides dropout.
        origins: where each row comes from, for messages.
        contrast: the rows' prompts with other rows' replies, for algorithms that estimate
            something on them; or None.
    """

    batch: TreeBatch
    position: int
    origins: tuple[str, ...]
    contrast: TreeBatch | None = None

    @property
    def num_rows(self) -> int:
        """Rows in this pass."""
        return len(self.origins)


def collate(rows: Sequence[Any], position: int) -> MicroBatch:
    """Fold encoded rows into a micro-batch.

    Args:
        rows: have `sequences`, `columns` and `origin`; `tensors`, `sequence_values` and
            `token_values` where there are any.
        position: of the first in the stream.
    """
    trees = [
        make_tree(
            row.sequences,
            row.columns,
            getattr(row, "tensors", None),
            sequence_values=getattr(row, "sequence_values", None),
            token_values=getattr(row, "token_values", None),
        )
        for row in rows
    ]
    return MicroBatch(pack(trees), position, tuple(str(row.origin) for row in rows))


def epoch_permutation(num_rows: int, *, seed: int, epoch: int) -> np.ndarray:
    """Return the order [num_rows] of the rows in an epoch."""
    return permutation(num_rows, seed * EPOCHS + epoch)


def share_of(start: int, stop: int, rank: int, world_size: int) -> range:
    """Return this process's part of the positions [start, stop): contiguous, as even as can be."""
    base, extra = divmod(stop - start, world_size)
    first = start + rank * base + min(rank, extra)
    return range(first, first + base + (rank < extra))


class Feed:
    """The micro-batches of one optimizer step after another, made ahead in a thread.

    Args:
        data: rows by number, or an iterable of rows (streaming), which is read anew when it ends.
        seed: of the permutations.
        shuffle: False keeps the rows of `data` in their order. Streams shuffle themselves.
        micro_batch_size: most rows of a forward pass.
        rank: of this process, or group of them.
        world_size: how many there are.
        contrast: whether micro-batches carry their prompts with other rows' replies too.
        dealt: processes share a step's rows by their tokens; False: in the order of the stream.
    """

    def __init__(
        self,
        data: Rows | Iterable[Any],
        *,
        seed: int,
        shuffle: bool,
        micro_batch_size: int,
        rank: int = 0,
        world_size: int = 1,
        contrast: bool = False,
        dealt: bool = True,
    ) -> None:
        self.contrast = contrast
        self.data, self.seed, self.shuffle = data, seed, shuffle
        self.micro_batch_size = micro_batch_size
        self.rank, self.world_size = rank, world_size
        self.num_rows = len(data) if hasattr(data, "__getitem__") else None  # type: ignore[arg-type]
        self.fingerprint: str | None = getattr(data, "fingerprint", None)
        if self.num_rows == 0:
            raise DataError("there are no rows to train on.")
        # A single process keeps the order of the stream.
        self._tokens: np.ndarray | None = None
        if dealt and world_size > 1:
            self._tokens = getattr(data, "lengths", None)
        self._orders: dict[int, np.ndarray] = {}
        self._stream: Iterator[Any] | None = None

    def steps(self, start: int, stop: int, global_batch: int) -> Iterator[list[MicroBatch]]:
        """Yield this process's micro-batches of each step.

        Args:
            start: rows consumed before.
            stop: one past the last row; the last step may be smaller than the others.
            global_batch: rows of a step over all processes, G.
        """
        if self.num_rows is None:
            self._stream = islice(_endless(self.data), start, None)  # type: ignore[arg-type]
        bounds = [
            (first, min(first + global_batch, stop)) for first in range(start, stop, global_batch)
        ]
        yield from _ahead(self._make_step, bounds)

    def _make_step(self, bounds: tuple[int, int]) -> list[MicroBatch]:
        pick = self._picker(bounds)
        if self.contrast:  # rows are looked at several times, and their pictures read each time
            pick = functools.cache(pick)
        batches = []
        for positions in self._passes(*bounds):
            first = positions[0]
            micro = collate([pick(position) for position in positions], first)
            if self.contrast:
                rows = mismatched_rows(pick, positions, *bounds)
                micro = replace(micro, contrast=collate(rows, first).batch)
            batches.append(micro)
        return batches

    def _passes(self, start: int, stop: int) -> list[Sequence[int]]:
        """Return the positions of each of this process's forward passes in a step."""
        size = self.micro_batch_size
        if self._tokens is None:
            mine = share_of(start, stop, self.rank, self.world_size)
            return [mine[at : at + size] for at in range(0, len(mine), size)]
        tokens = [int(self._tokens[self.index_at(position)]) for position in range(start, stop)]
        passes = passes_of(
            tokens, rank=self.rank, world_size=self.world_size, micro_batch_size=size
        )
        return [[start + row for row in rows] for rows in passes]

    def _picker(self, bounds: tuple[int, int]) -> Callable[[int], Any]:
        if self._stream is not None:
            rows = list(islice(self._stream, bounds[1] - bounds[0]))
            return lambda position: rows[position - bounds[0]]
        return lambda position: self.data[self.index_at(position)]  # type: ignore[index]

    def take_metrics(self) -> dict[str, tuple[float, float]]:
        """Return nothing: rows that lie ready have no metrics."""
        return {}

    def index_at(self, position: int) -> int:
        """Return the number of the row at a position of the stream."""
        assert self.num_rows is not None
        epoch, offset = divmod(position, self.num_rows)
        if not self.shuffle:
            return offset
        if epoch not in self._orders:
            order = epoch_permutation(self.num_rows, seed=self.seed, epoch=epoch)
            self._orders = {epoch - 1: self._orders.get(epoch - 1, order), epoch: order}
        return int(self._orders[epoch][offset])


def _endless(data: Iterable[Any]) -> Iterator[Any]:
    while True:
        empty = True
        for row in data:
            empty = False
            yield row
        if empty:
            raise DataError("the stream of training rows is empty, or can be read only once.")


def _ahead(make: Callable[[Any], Any], arguments: Sequence[Any]) -> Iterator[Any]:
    """Yield make(argument) for each, computed in one thread up to STEPS_AHEAD before its turn."""
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="collate") as pool:
        waiting: list[Future[Any]] = []
        following = iter(arguments)
        try:
            for argument in islice(following, STEPS_AHEAD):
                waiting.append(pool.submit(make, argument))
            while waiting:
                yield waiting.pop(0).result()
                for argument in islice(following, 1):
                    waiting.append(pool.submit(make, argument))
        finally:
            for future in waiting:
                future.cancel()
