"""FSDP2: every process holds an equal part of each weight, of its gradient and optimizer state.

Each decoder layer is a unit of torch's `fully_shard`: its weights are gathered when it runs,
forward and backward, and let go afterwards. Everything else (embeddings, head, norms, the towers
of multimodal models) is one more unit, gathered from the start of a forward pass to the end of
its backward pass: the head is read chunk by chunk outside of any module's forward, and a tower
runs only where there is a picture, which must not leave another process waiting.

Gradients are reduced as sums. The optimizer works on each process's own parts, as plain tensors.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.autograd import Variable
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import (
    CPUOffloadPolicy,
    FSDPModule,
    MixedPrecisionPolicy,
    OffloadPolicy,
    fully_shard,
)
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from swiftrl.core.errors import ModelError
from swiftrl.models.load import Place
from swiftrl.quant.linear import QuantLinear
from swiftrl.rlhf.config import TrainConfig
from swiftrl.rlhf.distributed import Processes
from swiftrl.rlhf.optim import (
    check_optimizer_shapes,
    load_optimizer_tensors,
    make_optimizer,
    optimizer_tensors,
    set_rate,
    trainable_parameters,
)
from swiftrl.rlhf.parallel.fsdp_config import FsdpSettings
from swiftrl.rlhf.parallel.shards import gather_whole, local, own_of, spread, take_whole
from swiftrl.rlhf.parallel.units import units_of
from swiftrl.rlhf.stored import Part, shapes_of

__all__ = ["Fsdp", "FsdpTrained"]

T = TypeVar("T")
SMALL = 0.1
"""Share of the weights below which gradients are summed once a step instead of at every pass."""


class _Inside(nn.Module):
    """A model wrapped so that any work with it happens within the forward of one module."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, work: Callable[[], Any]) -> Any:
        """Return what `work` gives; views are copied, because hooks on them could be lost."""
        result = work()
        return tuple(map(_owned, result)) if isinstance(result, tuple) else _owned(result)


def _scales(model: nn.Module) -> Iterator[nn.Parameter]:
    """Yield what packed layers keep in floating point, a few hundredths of their weights.

    Gathered with the others it would be rounded to the type of the computation.
    """
    for module in model.modules():
        if isinstance(module, QuantLinear):
            for name in module.packed_names:
                tensor = getattr(module, name)
                if tensor.is_floating_point():
                    yield tensor


def _owned(value: Any) -> Any:
    return value.clone() if isinstance(value, Tensor) and value._base is not None else value


@dataclass(slots=True)
class _Sharded:
    """A model that is laid out.

    Attributes:
        root: runs work with it; holds what no layer does.
        layers: units of their own.
        whole: whether all weights are gathered for now.
    """

    root: Any
    layers: list[Any]
    whole: bool = False


@dataclass(slots=True)
class Fsdp:
    """Models in equal parts.

    Attributes:
        processes: those of the run.
        mesh: of all processes, with one dimension.
        settings: what was asked for.
        compute_dtype: in which weights are gathered.
        lockstep: True: every pass exchanges weights.
    """

    processes: Processes
    mesh: DeviceMesh
    settings: FsdpSettings
    compute_dtype: torch.dtype
    lockstep: bool = True
    _models: dict[int, _Sharded] = field(default_factory=dict)

    @property
    def place(self) -> Place:
        """The host's memory, of the main process or of each."""
        main = self.processes.is_main or not self.settings.load_on_main
        return "host" if main else "nowhere"

    def prepare(self, model: nn.Module) -> None:
        """Keep this process's part of a model's weights, and let go of the others.

        Raises:
            ModelError: a weight that trains has no dimension to divide.
        """
        scalars = {p for p in model.parameters() if not p.dim()}
        if any(p.requires_grad for p in scalars):
            raise ModelError(
                f"{type(model).__name__}: a single number among its weights trains, which cannot "
                "be divided over processes. Freeze it, or leave --fsdp."
            )
        ignored = {*scalars, *_scales(model)}
        for parameter in ignored:
            if not parameter.is_meta:
                parameter.data = parameter.data.to(self.processes.device)
        narrow = None if self.compute_dtype == torch.float32 else self.compute_dtype
        options: dict[str, Any] = {
            "mesh": self.mesh,
            "mp_policy": MixedPrecisionPolicy(
                param_dtype=narrow, reduce_dtype=torch.float32, cast_forward_inputs=False
            ),
            "offload_policy": CPUOffloadPolicy(pin_memory=self.mesh.device_type != "cpu")
            if self.settings.offload
            else OffloadPolicy(),
            "ignored_params": ignored,
        }
        # What fully_shard returns is module and FSDPModule both.
        shard: Callable[..., Any] = fully_shard
        layers = units_of(model)
        taken = take_whole(model, self.processes)
        for layer in layers:
            fully_shard(layer, reshard_after_forward=self.settings.reshard_after_forward, **options)
        root = shard(_Inside(model), **options)
        if taken is not None:
            spread(root, model, taken, self.processes, on_host=self.settings.offload)
        units: list[Any] = [root, *layers]
        for unit in units:
            unit.set_gradient_divide_factor(1.0)
            unit.set_force_sum_reduction_for_comms(True)
            # An expert that no token reached, say. Torch 2.10 has no such setting.
            if unit is not root and hasattr(unit, "set_reduce_scatter_unused_params"):
                unit.set_reduce_scatter_unused_params(True, recurse=False)
        self._models[id(model)] = _Sharded(root, layers)
        self.run(model, lambda: None)

    def run(self, model: nn.Module, work: Callable[[], T]) -> T:
        """Return what `work` gives, with weights outside of the layers gathered."""
        sharded = self._models[id(model)]
        result = sharded.root(work)
        if not torch.is_grad_enabled() and not sharded.whole:
            sharded.root.reshard()
        return result

    @contextlib.contextmanager
    def whole(self, model: nn.Module) -> Iterator[None]:
        """Have all weights gathered in every process for a while."""
        sharded = self._models[id(model)]
        for unit in sharded.layers:
            unit.set_reshard_after_forward(False, recurse=False)
        for unit in (sharded.root, *sharded.layers):
            unit.unshard()
        sharded.whole = True
        try:
            yield
        finally:
            sharded.whole = False
            for unit in sharded.layers:
                unit.set_reshard_after_forward(self.settings.reshard_after_forward, recurse=False)
            for unit in (sharded.root, *sharded.layers):
                unit.reshard()

    def parts(self, model: nn.Module) -> Iterator[nn.Module]:
        """Yield layer after layer, then the model with the other weights gathered."""
        sharded = self._models[id(model)]
        for unit, part in (
            *zip(sharded.layers, sharded.layers, strict=True),
            (sharded.root, model),
        ):
            unit.unshard()
            try:
                yield part
            finally:
                unit.reshard()

    def gather(self, tensor: Tensor) -> Tensor:
        """Return a weight whole, on this process's device."""
        if not isinstance(tensor, DTensor):
            return tensor
        return gather_whole(tensor.to_local(), tensor.shape, self.processes)

    def train(self, model: nn.Module, config: TrainConfig, *, fused: bool) -> FsdpTrained:
        """Return what trains of a prepared model, with a new optimizer."""
        root = self._models[id(model)].root
        parameters = trainable_parameters(model)
        own = {name: nn.Parameter(local(p)) for name, p in parameters.items()}
        optimizer = make_optimizer(own, config, fused=fused)
        trained = sum(p.numel() for p in parameters.values())
        once = trained <= SMALL * sum(p.numel() for p in model.parameters())
        return FsdpTrained(self, model, root, parameters, own, optimizer, once)


@dataclass(slots=True)
class FsdpTrained:
    """What trains, in equal parts.

    Attributes:
        parallel: how.
        model: of which.
        root: the unit around it.
        parameters: by name, float32, in parts.
        own: this process's parts, as the optimizer sees them.
        optimizer: over these.
        once: gradients stay whole through a step's passes and are summed at its last.
    """

    parallel: Fsdp
    model: nn.Module
    root: Any
    parameters: Mapping[str, nn.Parameter]
    own: Mapping[str, nn.Parameter]
    optimizer: Optimizer
    once: bool
    _used: set[str] = field(default_factory=set)
    _outside: dict[str, tuple[nn.Module, str]] = field(init=False)

    def __post_init__(self) -> None:
        self._outside = {}
        inside = {
            id(p)
            for unit in self.root.modules()
            if isinstance(unit, FSDPModule) and unit is not self.root
            for p in unit.parameters()  # type: ignore[attr-defined]
        }
        for name, parameter in self.parameters.items():
            if id(parameter) not in inside:
                owner, _, leaf = name.rpartition(".")
                self._outside[name] = (self.model.get_submodule(owner), leaf)

    def align(self) -> None:
        """Do nothing: each weight has one owner."""

    def clear(self) -> None:
        """Forget the gradients."""
        for parameter in self.parameters.values():
            parameter.grad = None
        self._used.clear()

    def backward(self, loss: Tensor, *, last: bool) -> None:
        """Add the gradients of a micro-batch's loss, to sums over the processes in the end."""
        self.root.set_requires_gradient_sync(last or not self.once)
        loss.register_hook(lambda _: _after_backward(self._fill))
        loss.backward()

    def step(self, factor: float, *, rate: float, max_norm: float, update: bool) -> float:
        """Scale and clip the gradients, and change this process's parts; return the norm."""
        self.root.reshard()
        gradients = self._gradients()
        norm = self._scale_and_clip(list(gradients.values()), factor, max_norm)
        if update and math.isfinite(norm):
            for name, gradient in gradients.items():
                self.own[name].grad = gradient
            set_rate(self.optimizer, rate)
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return norm

    def weights(self) -> dict[str, Tensor]:
        """Return the trained weights, whole, in the main process."""
        return self._whole(self.parameters)

    def load_weights(self, tensors: Mapping[str, Tensor]) -> None:
        """Take this process's parts of whole weights."""
        with torch.no_grad():
            for name in tensors:
                self.own[name].copy_(own_of(tensors, name, self.parallel.processes))

    def optimizer_state(self) -> dict[str, Tensor]:
        """Return the optimizer's state, whole, in the main process."""
        found = {}
        for key, value in optimizer_tensors(self.optimizer, self.own).items():
            parameter = self.parameters[key.partition("/")[2]]
            if value.dim():
                value = gather_whole(value, parameter.shape, self.parallel.processes)
            if self.parallel.processes.is_main:
                found[key] = value.cpu()
        return found

    def load_optimizer_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Take this process's parts of a whole state.

        Raises:
            ModelError: it is of other parameters.
        """
        check_optimizer_shapes(self.parameters, shapes_of(tensors))
        parts = {key: own_of(tensors, key, self.parallel.processes) for key in tensors}
        load_optimizer_tensors(self.optimizer, self.own, parts)

    def model_state(self) -> dict[str, Tensor]:
        """Return the weights for the model's files, whole, in the main process."""
        if hasattr(self.model, "peft_config"):
            return self._whole(self.parameters)
        return self._whole(self.model.state_dict(keep_vars=True))

    def parts(self, *, weights: bool, optimizer: bool) -> dict[str, Part] | None:
        """Return what this process holds, for a file of its own."""
        if not self.parallel.settings.sharded_checkpoints:
            return None
        found: dict[str, Part] = {}
        if weights:
            found |= {
                f"trainable/{name}": (self.own[name], parameter.shape)
                for name, parameter in self.parameters.items()
            }
        if optimizer:
            for key, value in optimizer_tensors(self.optimizer, self.own).items():
                whole = self.parameters[key.partition("/")[2]].shape if value.dim() else value.shape
                found[f"optimizer/{key}"] = (value, whole)
        return found

    def _whole(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return tensors whole, on the host of the main process; tied ones stay one."""
        made: dict[int, Tensor] = {}
        for tensor in tensors.values():
            if id(tensor) not in made:
                whole = self.parallel.gather(tensor.detach())
                if self.parallel.processes.is_main:
                    made[id(tensor)] = whole.to("cpu", copy=True)
                else:
                    made[id(tensor)] = whole.new_empty(0)
        if not self.parallel.processes.is_main:
            return {}
        return {name: made[id(tensor)] for name, tensor in tensors.items()}

    def _fill(self) -> None:
        """Give what trains outside of the layers a gradient, where this process had no use for it.

        All processes must reduce the same weights; which of them a batch reaches (a tower, when
        there is a picture) differs.
        """
        for name, (module, leaf) in self._outside.items():
            weight = getattr(module, leaf)
            if weight.grad is not None:
                self._used.add(name)
            elif not isinstance(weight, DTensor):
                weight.grad = torch.zeros_like(weight)

    def _gradients(self) -> dict[str, Tensor]:
        """Return this process's parts of the gradients, without those that no process had."""
        names = list(self._outside)
        used = self.parallel.processes.sum([float(name in self._used) for name in names])
        unused = {name for name, count in zip(names, used, strict=True) if not count}
        return {
            name: local(parameter.grad)
            for name, parameter in self.parameters.items()
            if parameter.grad is not None and name not in unused
        }

    def _scale_and_clip(self, gradients: list[Tensor], factor: float, max_norm: float) -> float:
        """Multiply the gradients by `factor`, then clip them all to a norm over all processes."""
        held = [gradient for gradient in gradients if gradient.numel()]
        square = 0.0
        if held:
            torch._foreach_mul_(held, factor)
            square = float(torch.nn.utils.get_total_norm(held)) ** 2
        # Processes that share rows hold parts of their own all the same.
        processes = self.parallel.processes
        norm = math.sqrt(processes.sum([square])[0] * processes.sequence.size)
        if held and math.isfinite(norm) and 0 < max_norm < norm:
            torch._foreach_mul_(held, max_norm / norm)
        return norm


def _after_backward(call: Callable[[], None]) -> None:
    """Have `call` run at the end of the backward pass that is under way, before FSDP's own end."""
    Variable._execution_engine.queue_callback(call)
