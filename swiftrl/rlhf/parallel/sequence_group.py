"""The processes that work on the same rows, each on some of their tokens."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch.distributed as dist
from torch import Tensor

from swiftrl.core.errors import ConfigError, SwiftRLError

__all__ = ["SequenceGroup", "check_world"]

T = TypeVar("T")


def check_world(size: int, world_size: int) -> None:
    """Refuse a number of processes that groups of `size` do not make up.

    Raises:
        ConfigError: what to change.
    """
    if size < 1 or world_size % size:
        raise ConfigError(
            f"--sequence_parallel_size {size}: the run has {world_size} processes, which groups of "
            f"{size} do not make up. Start a multiple of it (NPROC_PER_NODE={max(size, 1)}), or "
            "choose a size that divides their number."
        )


@dataclass(frozen=True, slots=True)
class SequenceGroup:
    """A group of consecutive processes; by default this process alone.

    Attributes:
        rank: this process's number in it: it holds the tokens of that slice.
        size: how many processes it has.
        first: the number, among all of the run, of its first process.
        handle: torch's; None for a group of one.
        together: what exchanges run in: it limits their time.
    """

    rank: int = 0
    size: int = 1
    first: int = 0
    handle: Any = None
    together: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext

    @classmethod
    def join(
        cls,
        size: int,
        timeout: timedelta,
        together: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext,
    ) -> SequenceGroup:
        """Divide all processes into groups; every process calls this.

        Args:
            size: of a group.
            timeout: after this long torch gives up an exchange.
            together: what exchanges run in.
        """
        rank, world_size = dist.get_rank(), dist.get_world_size()
        handles = {
            first: dist.new_group(list(range(first, first + size)), timeout=timeout)
            for first in range(0, world_size, size)
        }
        first = rank - rank % size
        return cls(rank - first, size, first, handles[first], together)

    def exchange(self, parts: Tensor) -> Tensor:
        """Send parts[r] to process r, and return what each process r sent here, [size, ...]."""
        received = parts.new_empty(parts.shape)
        with self.together():
            dist.all_to_all_single(received, parts.contiguous(), group=self.handle)
        return received

    def add_(self, values: Tensor) -> Tensor:
        """Replace `values` by its sum over the group."""
        with self.together():
            dist.all_reduce(values, group=self.handle)
        return values

    def shares(self, count: int) -> range:
        """Return which of `count` things this process does: contiguous, as even as can be."""
        base, extra = divmod(count, self.size)
        first = self.rank * base + min(self.rank, extra)
        return range(first, first + base + (self.rank < extra))

    def gather(self, value: T) -> list[T]:
        """Return every process's `value`, in order of rank."""
        if self.size == 1:
            return [value]
        gathered: list[Any] = [None] * self.size
        with self.together():
            dist.all_gather_object(gathered, value, group=self.handle)
        return gathered

    def once(self, work: Callable[[], T]) -> T:
        """Let the first process do some work, and return its result in all.

        Raises:
            SwiftRLError: what the work raised, in every process.
        """
        if self.size == 1:
            return work()
        box: list[Any] = [None]
        if self.rank == 0:
            try:
                box = [work()]
            except SwiftRLError as error:
                box = [error]
        with self.together():
            dist.broadcast_object_list(box, src=self.first, group=self.handle)
        if isinstance(box[0], SwiftRLError):
            raise box[0]
        return box[0]
