"""DeepSpeed's ZeRO: optimizer state, gradients and weights in parts, by its own engine.

ZeRO 1 and 2 keep whole weights in every process. ZeRO 3 keeps parts: a decoder layer's weights
are gathered together when it runs (it is a leaf to DeepSpeed, so that fused operations may read
its inner weights), all others from the start of a pass to the end of its backward pass.

Weights that train are float32 and DeepSpeed is told nothing of narrower types: what computes in
them is torch's autocast inside of the pass, as without DeepSpeed. Its means over processes are
made sums by a loss scale of as many; the trainer's one division is the loss scale of the step.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from swiftrl.models.load import Place
from swiftrl.rlhf.config import TrainConfig
from swiftrl.rlhf.distributed import Processes
from swiftrl.rlhf.optim import (
    check_optimizer_shapes,
    make_optimizer,
    set_rate,
    trainable_parameters,
)
from swiftrl.rlhf.parallel.deepspeed_config import DeepspeedSettings
from swiftrl.rlhf.parallel.deepspeed_state import (
    load_state,
    load_weight,
    make_room,
    state_of,
    weight_of,
)
from swiftrl.rlhf.parallel.units import units_of
from swiftrl.rlhf.stored import shapes_of

__all__ = ["Deepspeed", "DeepspeedTrained"]

T = TypeVar("T")
BUCKET = 2 * 10**8
"""Most elements that are reduced or gathered together."""


class _Inside(nn.Module):
    """A model wrapped so that any work with it happens within the forward of one module."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, work: Callable[[], Any]) -> Any:
        """Return what `work` gives."""
        return work()


@dataclass(slots=True)
class Deepspeed:
    """Models under DeepSpeed.

    Attributes:
        processes: those of the run.
        settings: what was asked for.
        lockstep: True: gradients are reduced in every backward pass.
    """

    processes: Processes
    settings: DeepspeedSettings
    lockstep: bool = True
    _engines: dict[int, Any] = field(default_factory=dict)

    @property
    def place(self) -> Place:
        """The host where weights are divided, the device where each process keeps them whole."""
        return "host" if self.settings.stage == 3 else "device"

    def prepare(self, model: nn.Module) -> None:
        """Bring what trains to the main process's values; in stage 3 keep a part of each weight."""
        if self.settings.stage < 3:
            self.processes.copy_from_main(p for p in model.parameters() if p.requires_grad)
            return
        from deepspeed.utils import set_z3_leaf_module

        for buffer in model.buffers():
            buffer.data = buffer.data.to(self.processes.device)
        for parameter in model.parameters():
            # DeepSpeed sends the main process's values as it divides; they may not be aligned.
            parameter.data = parameter.data.contiguous()
        for layer in units_of(model):
            set_z3_leaf_module(layer, True)
        self._engines[id(model)] = self._engine(model, None, 0.0)

    def run(self, model: nn.Module, work: Callable[[], T]) -> T:
        """Return what `work` gives, with weights outside of the layers gathered."""
        engine = self._engines.get(id(model))
        if engine is None:
            return work()
        kept: list[T] = []

        def seen() -> Any:
            # DeepSpeed looks for tensors in what a forward pass gives, and stumbles over others.
            kept.append(work())
            return kept[0] if isinstance(kept[0], (Tensor, tuple)) else ()

        found: Any = engine(seen)
        return cast(T, found) if isinstance(kept[0], (Tensor, tuple)) else kept[0]

    @contextlib.contextmanager
    def whole(self, model: nn.Module) -> Iterator[None]:
        """Have all weights gathered in every process for a while."""
        if self.settings.stage < 3:
            yield
            return
        with _at_rest(self._engines[id(model)]), _gathered(model.parameters()):
            yield

    def parts(self, model: nn.Module) -> Iterator[nn.Module]:
        """Yield layer after layer, then the model with the other weights gathered."""
        if self.settings.stage < 3:
            yield model
            return
        layers = units_of(model)
        with _at_rest(self._engines[id(model)]):
            for layer in layers:
                with _gathered(layer.parameters()):
                    yield layer
            with _gathered(_outside(model, layers)):
                yield model

    def gather(self, tensor: Tensor) -> Tensor:
        """Return a weight whole, on this process's device."""
        if not hasattr(tensor, "ds_id"):
            return tensor
        with _gathered([tensor]):
            return tensor.detach().clone()

    def train(self, model: nn.Module, config: TrainConfig, *, fused: bool) -> DeepspeedTrained:
        """Return what trains of a prepared model, with a new optimizer."""
        if (before := self._engines.pop(id(model), None)) is not None:
            before.destroy()
        parameters = trainable_parameters(model)
        with _gathered(parameters.values()):
            # Which weights decay depends on their shapes.
            optimizer = make_optimizer(parameters, config, fused=False)
            shapes = {
                name: nn.Parameter(p.new_empty(p.shape, device="meta"))
                for name, p in parameters.items()
            }
        engine = self._engine(model, optimizer, config.max_grad_norm)
        self._engines[id(model)] = engine
        make_room(engine.optimizer)
        return DeepspeedTrained(self, model, engine, shapes, parameters)

    def _engine(
        self, model: nn.Module, optimizer: torch.optim.Optimizer | None, max_norm: float
    ) -> Any:
        import deepspeed

        elements = sum(_numel(p) for p in model.parameters() if p.requires_grad)
        bucket = max(min(BUCKET, elements), 1)
        sizes = {"reduce_bucket_size": bucket, "allgather_bucket_size": bucket}
        inside = _Inside(model)
        engine, *_ = deepspeed.initialize(
            model=inside,
            optimizer=optimizer,
            dist_init_required=False,
            config={
                "train_micro_batch_size_per_gpu": 1,
                "gradient_accumulation_steps": 1,
                "managed_gradient_accumulation": False,
                "gradient_clipping": max_norm,
                "zero_allow_untested_optimizer": True,
                "zero_force_ds_cpu_optimizer": False,
                "steps_per_print": None,
                "zero_optimization": {**sizes, **self.settings.zero},
            },
        )
        if self.settings.stage == 3:
            for parameter in _outside(model, units_of(model)):
                deepspeed.zero.register_external_parameter(inside, parameter)
        return engine


@dataclass(slots=True)
class DeepspeedTrained:
    """What trains, under DeepSpeed.

    Attributes:
        parallel: how.
        model: of which.
        engine: DeepSpeed's.
        parameters: by name; shapes without values, since a process may hold parts.
        held: the same as the model has them.
    """

    parallel: Deepspeed
    model: nn.Module
    engine: Any
    parameters: Mapping[str, nn.Parameter]
    held: Mapping[str, nn.Parameter]

    def align(self) -> None:
        """Do nothing: `Deepspeed.prepare` and the engine have sent the main process's weights."""

    def clear(self) -> None:
        """Do nothing: each step forgets its gradients."""

    def backward(self, loss: Tensor, *, last: bool) -> None:
        """Add the gradients of a micro-batch's loss, to sums over the processes."""
        if self.parallel.settings.stage < 3:
            # All processes must reduce the same weights, whichever their batches have reached.
            loss = loss + sum(p.flatten()[0] * 0.0 for p in self.held.values())
        # The mean over the processes of so many times the gradient is its sum.
        self._scale(float(self.parallel.processes.world_size))
        self.engine.backward(loss, scale_wrt_gas=False)

    def step(self, factor: float, *, rate: float, max_norm: float, update: bool) -> float:
        """Scale and clip the gradients, and change the weights; return the norm."""
        from deepspeed.utils import safe_set_full_grad

        optimizer = self.engine.optimizer
        self._scale(1.0 / factor)
        optimizer.clip_grad = max_norm
        set_rate(optimizer, rate)
        if not update:
            # DeepSpeed passes a step over, and forgets its gradients, if one is not a number.
            name, parameter = next(iter(self.held.items()))
            nothing = torch.full(self.parameters[name].shape, math.nan, device=parameter.device)
            safe_set_full_grad(parameter, nothing)
        self.engine.step()
        return float(self.engine.get_global_grad_norm())

    def weights(self) -> dict[str, Tensor]:
        """Return the trained weights, whole, in the main process."""
        found = {}
        for name, parameter in self.held.items():
            whole = weight_of(parameter).view(self.parameters[name].shape)
            if self.parallel.processes.is_main:
                found[name] = whole.cpu()
        return found

    def load_weights(self, tensors: Mapping[str, Tensor]) -> None:
        """Take this process's parts of whole weights."""
        for name, value in tensors.items():
            load_weight(self.held[name], value.to(self.parallel.processes.device))

    def optimizer_state(self) -> dict[str, Tensor]:
        """Return the optimizer's state, whole, in the main process."""
        found = {}
        for name, parameter in self.held.items():
            for slot, value in state_of(self.engine.optimizer, parameter).items():
                if self.parallel.processes.is_main:
                    shape = self.parameters[name].shape if value.dim() else value.shape
                    found[f"{slot}/{name}"] = value.view(shape).cpu()
        return found

    def load_optimizer_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Take this process's parts of a whole state.

        Raises:
            ModelError: it is of other parameters.
        """
        check_optimizer_shapes(self.parameters, shapes_of(tensors))
        load_state(self.engine.optimizer, self.held, tensors)

    def parts(self, *, weights: bool, optimizer: bool) -> None:
        """Return None: the main process writes for all."""

    def model_state(self) -> dict[str, Tensor] | None:
        """Return the weights for the model's files, whole, in the main process."""
        if self.parallel.settings.stage < 3:
            return None
        trained = self.weights()
        if hasattr(self.model, "peft_config"):
            return trained
        names = {id(p): name for name, p in self.held.items()}
        made: dict[int, Tensor] = {}
        found = {}
        for name, tensor in self.model.state_dict(keep_vars=True).items():
            key = id(tensor)
            if key not in made and key not in names:
                made[key] = self.parallel.gather(tensor).detach().cpu()
            if self.parallel.processes.is_main:
                found[name] = trained[names[key]] if key in names else made[key]
        return found

    def _scale(self, value: float) -> None:
        self.engine.optimizer.override_loss_scale(value)


def _numel(parameter: nn.Parameter) -> int:
    return int(getattr(parameter, "ds_numel", parameter.numel()))


def _outside(model: nn.Module, layers: Iterable[nn.Module]) -> list[nn.Parameter]:
    inside = {id(p) for layer in layers for p in layer.parameters()}
    return [p for p in model.parameters() if id(p) not in inside]


@contextlib.contextmanager
def _gathered(parameters: Iterable[Any]) -> Iterator[None]:
    """Have weights whole for a while; they are only read."""
    divided = [p for p in parameters if hasattr(p, "ds_id")]
    if not divided:
        yield
        return
    from deepspeed.runtime.zero import GatheredParameters

    with GatheredParameters(divided):
        yield


@contextlib.contextmanager
def _at_rest(engine: Any) -> Iterator[None]:
    """Let modules run as any others for a while: they neither gather weights nor let them go."""
    # An engine that does not train has in its optimizer's place what gathers.
    gatherer = getattr(engine.optimizer, "parameter_offload", engine.optimizer)
    gatherer.destroy()
    gatherer.forward_hooks.clear()
    gatherer.backward_hooks.clear()
    for parameter in engine.module.parameters():
        parameter.ds_active_sub_modules.clear()
    try:
        yield
    finally:
        gatherer.setup_zero_stage3_hooks()
