"""Data parallel (DDP): every process has the whole model, and a share of the rows.

Gradients are summed here, once an optimizer step, rather than by DistributedDataParallel's hooks:
the sum is exact whatever each process has seen (two forward passes, no row at all, an unused
tower), no forward pass has to go through a wrapper, and nothing is averaged that must be undone.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim import Optimizer

from swiftrl.models.load import Place
from swiftrl.rlhf.config import TrainConfig
from swiftrl.rlhf.distributed import Processes
from swiftrl.rlhf.optim import (
    load_optimizer_tensors,
    make_optimizer,
    optimizer_tensors,
    scale_and_clip,
    set_rate,
    trainable_parameters,
)

__all__ = ["Replicated", "ReplicatedTrained"]

T = TypeVar("T")
BUCKET_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Replicated:
    """Whole models in every process.

    Attributes:
        processes: those of the run.
        lockstep: False: a process may do as many passes as it has rows for.
        place: weights are read to the device.
    """

    processes: Processes
    lockstep: bool = False
    place: Place = "device"

    def prepare(self, model: nn.Module) -> None:
        """Do nothing: the model stays as it is."""

    def run(self, model: nn.Module, work: Callable[[], T]) -> T:
        """Return what `work` gives."""
        return work()

    @contextlib.contextmanager
    def whole(self, model: nn.Module) -> Iterator[None]:
        """Do nothing: weights always are."""
        yield

    def parts(self, model: nn.Module) -> Iterator[nn.Module]:
        """Yield the model itself."""
        yield model

    def gather(self, tensor: Tensor) -> Tensor:
        """Return the weight as it is."""
        return tensor

    def train(self, model: nn.Module, config: TrainConfig, *, fused: bool) -> ReplicatedTrained:
        """Return what trains of the model, with a new optimizer."""
        parameters = trainable_parameters(model)
        optimizer = make_optimizer(parameters, config, fused=fused)
        return ReplicatedTrained(parameters, optimizer, self.processes)


@dataclass(frozen=True, slots=True)
class ReplicatedTrained:
    """What trains, whole in every process.

    Attributes:
        parameters: by name, in float32.
        optimizer: over these.
        processes: those of the run.
    """

    parameters: Mapping[str, nn.Parameter]
    optimizer: Optimizer
    processes: Processes

    def align(self) -> None:
        """Make every process's weights the main one's."""
        self.processes.copy_from_main(self.parameters.values())

    def clear(self) -> None:
        """Forget the gradients."""
        self.optimizer.zero_grad(set_to_none=True)

    def backward(self, loss: Tensor, *, last: bool) -> None:
        """Add the gradients of a micro-batch's loss."""
        if loss.requires_grad:
            loss.backward()

    def step(self, factor: float, *, rate: float, max_norm: float, update: bool) -> float:
        """Sum, scale and clip the gradients, and change the weights; return the norm."""
        parameters = list(self.parameters.values())
        sum_gradients(parameters, self.processes)
        norm = scale_and_clip(parameters, factor, max_norm)
        if update and math.isfinite(norm):
            set_rate(self.optimizer, rate)
            self.optimizer.step()
        return norm

    def weights(self) -> dict[str, Tensor]:
        """Return the trained weights in float32."""
        return {name: parameter.detach() for name, parameter in self.parameters.items()}

    def load_weights(self, tensors: Mapping[str, Tensor]) -> None:
        """Take weights back."""
        with torch.no_grad():
            for name, value in tensors.items():
                self.parameters[name].copy_(value)

    def optimizer_state(self) -> dict[str, Tensor]:
        """Return the optimizer's state, "SLOT/parameter name" -> tensor."""
        return optimizer_tensors(self.optimizer, self.parameters)

    def load_optimizer_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Take back what `optimizer_state` gave."""
        load_optimizer_tensors(self.optimizer, self.parameters, tensors)

    def parts(self, *, weights: bool, optimizer: bool) -> None:
        """Return None: the main process has everything."""

    def model_state(self) -> None:
        """Return None: the model holds whole weights."""


def sum_gradients(parameters: Sequence[nn.Parameter], processes: Processes) -> None:
    """Replace each gradient by its sum over all processes.

    A parameter without a gradient in this process counts as zero; one without in any keeps none,
    so that the optimizer passes it over as it would with one process.
    """
    if processes.world_size == 1:
        return
    used = processes.sum([float(p.grad is not None) for p in parameters])
    chosen = [p for p, count in zip(parameters, used, strict=True) if count]
    for parameter in chosen:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    with processes.together():
        for bucket in _buckets([p.grad for p in chosen if p.grad is not None]):
            flat = torch.cat([gradient.reshape(-1) for gradient in bucket])
            dist.all_reduce(flat)
            parts = flat.split([gradient.numel() for gradient in bucket])
            for gradient, part in zip(bucket, parts, strict=True):
                gradient.copy_(part.view_as(gradient))


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
