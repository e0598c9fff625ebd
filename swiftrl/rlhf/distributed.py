"""The processes of a run, and the few things they say to each other.

Gradients are summed here, once an optimizer step, rather than by DistributedDataParallel's hooks:
the sum is exact whatever each process has seen (two forward passes, no row at all, an unused
tower), no forward pass has to go through a wrapper, and nothing is averaged that must be undone.
"""

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
from torch import Tensor, nn

from swiftrl.backends.base import Backend
from swiftrl.core import log
from swiftrl.core.errors import MachineError

__all__ = ["Processes"]

T = TypeVar("T")
BUCKET_BYTES = 64 * 2**20


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
            with _lost_process(timeout_s):
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
        with _lost_process():
            dist.all_reduce(total)
        return total.tolist()

    def gather(self, value: T) -> list[T]:
        """Return every process's `value`, in order of rank."""
        if self.world_size == 1:
            return [value]
        gathered: list[Any] = [None] * self.world_size
        with _lost_process():
            dist.all_gather_object(gathered, value)
        return gathered

    def share(self, value: T) -> T:
        """Return the main process's `value`."""
        if self.world_size == 1:
            return value
        box = [value]
        with _lost_process():
            dist.broadcast_object_list(box, src=0)
        return box[0]

    def copy_from_main(self, tensors: Iterable[Tensor]) -> None:
        """Overwrite `tensors` with the main process's."""
        if self.world_size == 1:
            return
        with _lost_process(), torch.no_grad():
            for tensor in tensors:
                dist.broadcast(tensor.data, src=0)

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Replace each gradient by its sum over all processes.

        A parameter without a gradient in this process counts as zero; one without in any keeps
        none, so that the optimizer passes it over as it would with one process.
        """
        if self.world_size == 1:
            return
        used = self.sum([float(p.grad is not None) for p in parameters])
        chosen = [p for p, count in zip(parameters, used, strict=True) if count]
        for parameter in chosen:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        with _lost_process():
            for bucket in _buckets([p.grad for p in chosen if p.grad is not None]):
                flat = torch.cat([gradient.reshape(-1) for gradient in bucket])
                dist.all_reduce(flat)
                parts = flat.split([gradient.numel() for gradient in bucket])
                for gradient, part in zip(bucket, parts, strict=True):
                    gradient.copy_(part.view_as(gradient))

    def leave(self) -> None:
        """Part from the other processes at the end of the work."""
        if self.world_size > 1 and dist.is_initialized():
            dist.destroy_process_group()

    def wait(self) -> None:
        """Return when every process has come here."""
        self.sum([0.0])


def _buckets(gradients: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    bucket: list[Tensor] = []
    size = 0
    for gradient in gradients:
        nbytes = gradient.numel() * gradient.element_size()
        if bucket and size + nbytes > BUCKET_BYTES:
            yield bucket
            bucket, size = [], 0
        bucket.append(gradient)
        size += nbytes
    if bucket:
        yield bucket


@contextlib.contextmanager
def _lost_process(timeout_s: float | None = None) -> Iterator[None]:
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
