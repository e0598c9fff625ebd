"""The processes of a run, and the few things they say to each other."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from accelerate import PartialState
from torch import Tensor

from swiftrl.backends.base import Backend
from swiftrl.core import log
from swiftrl.core.errors import MachineError

__all__ = ["Processes", "lost_process"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Processes:
    """This process among those of the run.

    Attributes:
        rank: its number, from 0.
        world_size: how many there are.
        device: what it computes on.
    """

    rank: int
    world_size: int
    device: torch.device

    @classmethod
    def start(cls, backend: Backend, *, timeout_s: float = 1800) -> Processes:
        """Join the other processes, if a launcher started several, and bind to a device.

        Args:
            backend: the hardware.
            timeout_s: after this long a stalled exchange fails in every process.
        """
        local_rank = int(os.environ.get("LOCAL_RANK", "0"))
        backend.set_device(local_rank)
        if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized():
            with lost_process(timeout_s):
                dist.init_process_group(backend.dist_backend, timeout=timedelta(seconds=timeout_s))
        state = PartialState(cpu=backend.device_type == "cpu")
        log.set_quiet(not state.is_main_process)
        return cls(state.process_index, state.num_processes, backend.current_device())

    @property
    def is_main(self) -> bool:
        """Whether this process writes what all share."""
        return self.rank == 0

    def sum(self, values: Sequence[float]) -> list[float]:
        """Return the sums over all processes, in double precision."""
        if self.world_size == 1:
            return list(values)
        # On the host: some accelerators have no double precision.
        total = torch.tensor(list(values), dtype=torch.float64)
        with lost_process():
            dist.all_reduce(total)
        return total.tolist()

    def gather(self, value: T) -> list[T]:
        """Return every process's `value`, in order of rank."""
        if self.world_size == 1:
            return [value]
        gathered: list[Any] = [None] * self.world_size
        with lost_process():
            dist.all_gather_object(gathered, value)
        return gathered

    def share(self, value: T) -> T:
        """Return the main process's `value`."""
        if self.world_size == 1:
            return value
        box = [value]
        with lost_process():
            dist.broadcast_object_list(box, src=0)
        return box[0]

    def copy_from_main(self, tensors: Iterable[Tensor]) -> None:
        """Overwrite `tensors` with the main process's."""
        if self.world_size == 1:
            return
        with lost_process(), torch.no_grad():
            for tensor in tensors:
                dist.broadcast(tensor.data, src=0)

    def leave(self) -> None:
        """Part from the other processes at the end of the work."""
        if self.world_size > 1 and dist.is_initialized():
            dist.destroy_process_group()

    def wait(self) -> None:
        """Return when every process has come here."""
        self.sum([0.0])


@contextlib.contextmanager
def lost_process(timeout_s: float | None = None) -> Iterator[None]:
    """Say in plain words that another process has gone.

    Raises:
        MachineError: the exchange failed or timed out.
    """
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        limit = f" (within {timeout_s:.0f} s)" if timeout_s else ""
        raise MachineError(
            "the exchange with the other processes of this run failed"
            f"{limit}: one of them stopped, or stalled for longer than --ddp_timeout. Its own "
            f"message says why. ({str(error).strip().splitlines()[0][:200]})"
        ) from error
