"""The optimizer: float32 masters, one division, clipping, and states that are files' tensors."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from swiftrl.core.errors import ConfigError, ModelError
from swiftrl.rlhf.config import TrainConfig
from swiftrl.rlhf.stored import shapes_of

__all__ = [
    "LossScale",
    "check_optimizer_shapes",
    "load_optimizer_tensors",
    "make_optimizer",
    "optimizer_tensors",
    "scale_and_clip",
    "set_rate",
    "trainable_parameters",
]


_LORA_B = re.compile(r"\.lora_(embedding_)?B\b")
_FACTOR = "rate_factor"
"""Of a group of parameters: what multiplies the learning rate."""


def trainable_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return what trains, by name, after widening it to float32.

    Raises:
        ConfigError: nothing trains.
    """
    found = {name: value for name, value in model.named_parameters() if value.requires_grad}
    if not found:
        raise ConfigError(
            "no weight of the model is trainable; with --tuner_type full check the --freeze_* "
            "settings, with lora --target_modules."
        )
    for parameter in found.values():
        if parameter.dtype != torch.float32:
            parameter.data = parameter.data.float()
    return found


def make_optimizer(
    parameters: Mapping[str, nn.Parameter], config: TrainConfig, *, fused: bool
) -> torch.optim.Optimizer:
    """Return the optimizer; weight decay is for matrices and wider, never for vectors.

    With `lorap_lr_ratio` LoRA's second matrices, B, have a learning rate of their own (LoRA+,
    Hayou et al. 2024, arXiv:2402.12354, section 4); `set_rate` knows it.
    """
    ratio = config.lorap_lr_ratio or 1.0
    found: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in parameters.items():
        decay = config.weight_decay if parameter.ndim >= 2 else 0.0
        factor = ratio if _LORA_B.search(name) else 1.0
        found.setdefault((decay, factor), []).append(parameter)
    groups = [
        {"params": params, "weight_decay": decay, _FACTOR: factor}
        for (decay, factor), params in found.items()
    ]
    if config.optim == "sgd":
        return torch.optim.SGD(groups, lr=0.0)
    return torch.optim.AdamW(
        groups,
        lr=0.0,
        betas=(config.adam_beta1, config.adam_beta2),
        eps=config.adam_epsilon,
        fused=fused,
    )


def set_rate(optimizer: Any, rate: float) -> None:
    """Set the learning rate of the next step."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get(_FACTOR, 1.0)


def optimizer_tensors(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, nn.Parameter]
) -> dict[str, Tensor]:
    """Return the optimizer's state as "SLOT/parameter name" -> tensor."""
    return {
        f"{slot}/{name}": torch.as_tensor(value).detach()
        for name, parameter in parameters.items()
        for slot, value in optimizer.state.get(parameter, {}).items()
    }


def load_optimizer_tensors(
    optimizer: torch.optim.Optimizer,
    parameters: Mapping[str, nn.Parameter],
    tensors: Mapping[str, Tensor],
) -> None:
    """Take back what `optimizer_tensors` gave.

    Raises:
        ModelError: the state is of other parameters.
    """
    check_optimizer_shapes(parameters, shapes_of(tensors))
    optimizer.state.clear()
    for key, value in tensors.items():
        slot, _, name = key.partition("/")
        parameter = parameters[name]
        # A scalar (Adam's step) stays where this optimizer would have made it.
        device = parameter.device if value.ndim or _fused(optimizer) else torch.device("cpu")
        optimizer.state[parameter][slot] = value.to(device, copy=True)


def check_optimizer_shapes(
    parameters: Mapping[str, nn.Parameter], shapes: Mapping[str, torch.Size]
) -> None:
    """Refuse a state that `optimizer_tensors` gave of other parameters.

    Raises:
        ModelError: the message names one.
    """
    for key, shape in shapes.items():
        _, _, name = key.partition("/")
        parameter = parameters.get(name)
        if parameter is None or (shape and shape != parameter.shape):
            found = "absent" if parameter is None else str(tuple(parameter.shape))
            raise ModelError(
                f"the checkpoint's optimizer has a state for {name} {tuple(shape)}, which "
                f"is {found} in this run: it was made with another model or other adapters."
            )


def _fused(optimizer: torch.optim.Optimizer) -> bool:
    return bool(optimizer.defaults.get("fused"))


def scale_and_clip(parameters: Sequence[nn.Parameter], factor: float, max_norm: float) -> float:
    """Multiply the gradients by `factor`, then clip them.

    Args:
        parameters: those without a gradient are passed over.
        factor: one over what the summed loss counts.
        max_norm: bound of the Euclidean norm of all gradients together; 0 for none.

    Returns:
        the norm before clipping; not finite if any gradient is not, which are then left alone.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    if not gradients:
        return 0.0
    _scale(gradients, factor)
    norm = float(torch.nn.utils.get_total_norm(gradients))
    if math.isfinite(norm) and max_norm > 0 and norm > max_norm:
        _scale(gradients, max_norm / norm)
    return norm


def _scale(gradients: Sequence[Tensor], factor: float) -> None:
    """Multiply in place, device by device."""
    of_device: dict[torch.device, list[Tensor]] = {}
    for gradient in gradients:
        of_device.setdefault(gradient.device, []).append(gradient)
    for there in of_device.values():
        torch._foreach_mul_(there, factor)


class LossScale:
    """A factor on the loss that keeps float16 gradients in range; 1 for other types.

    It halves when a gradient overflows and doubles after `GROWTH_STEPS` steps without.
    """

    GROWTH_STEPS = 200
    LOWEST = 2.0**-14

    def __init__(self, dtype: torch.dtype) -> None:
        self.active = dtype == torch.float16
        self.value = 2.0**10 if self.active else 1.0
        self.good_steps = 0

    def update(self, finite: bool) -> bool:
        """Take note of a step's gradients.

        Returns:
            whether non-finite gradients are explained by the scale, which was then lowered.
        """
        if not self.active:
            return False
        if finite:
            self.good_steps += 1
            if self.good_steps % self.GROWTH_STEPS == 0:
                self.value *= 2
            return False
        self.good_steps = 0
        if self.value <= self.LOWEST:
            return False
        self.value /= 2
        return True
