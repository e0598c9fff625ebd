"""The processes of a run, and the few things they say to each other."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from accelerate import PartialState
from torch import Tensor

from swiftrl.backends.base import Backend
from swiftrl.core import log
from swiftrl.core.errors import MachineError
from swiftrl.rlhf.joining import AlreadySaid, Meeting, Member, meet
from swiftrl.rlhf.parallel.sequence_group import SequenceGroup, check_world
from swiftrl.rlhf.watch import Watch

__all__ = ["Processes"]

T = TypeVar("T")
MAIN_ALONE = 10
"""Times --ddp_timeout that the main process may download or encode while the others wait."""
_watches: list[Watch] = []
"""The one of this process, if it has joined others."""


@dataclass(frozen=True, slots=True)
class Processes:
    """This process among those of the run.

    Attributes:
        rank: its number, from 0.
        world_size: how many there are.
        device: what it computes on.
        watch: ends all processes when one is lost; None where there is one, or a caller joined
            them by itself.
        sequence: those among them that work on the same rows, each on a part of the tokens.
    """

    rank: int
    world_size: int
    device: torch.device
    watch: Watch | None = None
    sequence: SequenceGroup = field(default_factory=SequenceGroup)

    @classmethod
    def start(
        cls, backend: Backend, *, timeout_s: float = 1800, start_timeout_s: float = 600
    ) -> Processes:
        """Join the other processes, if a launcher started several, and bind to a device.

        Args:
            backend: the hardware.
            timeout_s: after this long a stalled exchange fails in every process.
            start_timeout_s: longest wait for all processes to come.

        Raises:
            MachineError: some do not come, or do not belong to the same run.
        """
        backend.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized():
            _watches[:] = [_join(backend, timeout_s, start_timeout_s)]
        state = PartialState(cpu=backend.device_type == "cpu")
        log.set_quiet(not state.is_main_process)
        watch = _watches[0] if _watches else None
        return cls(state.process_index, state.num_processes, backend.current_device(), watch)

    def in_groups(self, size: int) -> Processes:
        """Return the same, `size` of them at a time working on the same rows.

        Raises:
            ConfigError: such groups do not make up the number of processes.
        """
        check_world(size, self.world_size)
        if size == 1:
            return self
        timeout_s = 1800 if self.watch is None else self.watch.timeout_s
        group = SequenceGroup.join(size, _limit(timeout_s), self.together)
        return replace(self, sequence=group)

    @property
    def is_main(self) -> bool:
        """Whether this process writes what all share."""
        return self.rank == 0

    @property
    def replica(self) -> int:
        """The number, from 0, of the rows that this process works on."""
        return self.rank // self.sequence.size

    @property
    def replicas(self) -> int:
        """How many processes, or groups of them, work on rows of their own."""
        return self.world_size // self.sequence.size

    def at(self, stage: str, step: int | None = None) -> None:
        """Note what this process does from now on, for messages; without a step, in the same."""
        if self.watch is not None:
            self.watch.at(stage, step)

    def write_stacks_to(self, folder: Path) -> None:
        """Say where the stacks of all processes are written when the run fails."""
        if self.watch is not None:
            self.watch.name_folder(folder)

    @contextlib.contextmanager
    def stacks_on_signal(self) -> Iterator[None]:
        """Let the launcher have this process's stacks even when it hangs or is stopped."""
        with contextlib.nullcontext() if self.watch is None else self.watch.stacks_on_signal():
            yield

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Limit what is done inside, with exchanges or without, to --ddp_timeout.

        Raises:
            MachineError: an exchange failed.
        """
        try:
            with contextlib.nullcontext() if self.watch is None else self.watch.limited():
                yield
        except RuntimeError as error:
            if self.world_size == 1 or not _of_exchange(error):
                raise
            if self.watch is not None:
                self.watch.broken(error)
            raise MachineError(
                "the exchange with the other processes of this run failed: one of them stopped, "
                "or stalled for longer than --ddp_timeout. Its own message says why. "
                f"({str(error).strip().splitlines()[0][:200]})"
            ) from error

    @contextlib.contextmanager
    def ending_together(self) -> Iterator[None]:
        """Have every process end, by one message, when one raises inside."""
        try:
            yield
        except AlreadySaid:
            raise
        except BaseException as error:
            if self.watch is not None:
                self.watch.raised(error)
            raise

    def sum(self, values: Sequence[float]) -> list[float]:
        """Return the sums over all replicas, in double precision."""
        if self.world_size == 1:
            return list(values)
        # On the host: some accelerators have no double precision.
        total = torch.tensor(list(values), dtype=torch.float64)
        with self.together():
            dist.all_reduce(total)
        return (total / self.sequence.size).tolist()

    def most(self, value: int) -> int:
        """Return the largest `value` of any process."""
        if self.world_size == 1:
            return value
        largest = torch.tensor(value)
        with self.together():
            dist.all_reduce(largest, op=dist.ReduceOp.MAX)
        return int(largest)

    def gather(self, value: T) -> list[T]:
        """Return every replica's `value`, in order."""
        return self.gather_all(value)[:: self.sequence.size]

    def gather_all(self, value: T) -> list[T]:
        """Return every process's `value`, in order of rank."""
        if self.world_size == 1:
            return [value]
        gathered: list[Any] = [None] * self.world_size
        with self.together():
            dist.all_gather_object(gathered, value)
        return gathered

    def share(self, value: T) -> T:
        """Return the main process's `value`."""
        if self.world_size == 1:
            return value
        box = [value]
        with self.together():
            dist.broadcast_object_list(box, src=0)
        return box[0]

    def copy_from_main(self, tensors: Iterable[Tensor]) -> None:
        """Overwrite `tensors` with the main process's."""
        if self.world_size == 1:
            return
        with self.together(), torch.no_grad():
            for tensor in tensors:
                dist.broadcast(tensor.data, src=0)

    def leave(self) -> None:
        """Part from the other processes at the end of the work.

        What is still held of torch's groups keeps their threads alive, which do not survive the
        interpreter's teardown: see `swiftrl.core.lifeline.run_as_rank`.
        """
        if dist.is_initialized():
            # One that is gone while another still closes its connections can abort at its exit.
            self.wait()
            dist.destroy_process_group()
        if self.watch is not None:
            self.watch.leave()
            _watches.clear()

    def wait(self) -> None:
        """Return when every process has come here."""
        self.sum([0.0])

    def main_first(self, work: Callable[[], T]) -> T:
        """Let the main process download or encode, however long, and the others find it done."""
        outcome = [work()] if self.is_main else []
        if self.watch is not None:
            self.watch.wait_for_main(MAIN_ALONE * self.watch.timeout_s)
        else:
            self.wait()
        return outcome[0] if outcome else work()


def _join(backend: Backend, timeout_s: float, start_timeout_s: float) -> Watch:
    """Meet the other processes, and let torch connect them."""
    member = Member.of(os.environ)
    try:
        store = meet(member, start_timeout_s)
    except Meeting as problem:
        raise problem.as_error() from None
    watch = Watch(member, store, timeout_s)
    dist.init_process_group(
        backend.dist_backend,
        store=dist.PrefixStore("torch", store),
        rank=member.rank,
        world_size=member.world_size,
        timeout=_limit(timeout_s),
    )
    return watch


def _limit(timeout_s: float) -> timedelta:
    """Return when torch gives up an exchange: later than the watch, which says more."""
    return timedelta(seconds=1.5 * timeout_s + 10)


def _of_exchange(error: RuntimeError) -> bool:
    """Say whether an error comes from the connection to other processes, not from the model."""
    return isinstance(error, dist.DistError) or "gloo" in str(error)
