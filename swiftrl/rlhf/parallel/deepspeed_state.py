"""Whole weights and optimizer states out of DeepSpeed's parts, and back.

ZeRO 3 divides each weight, flattened and padded, into as many equal parts as there are
processes; ZeRO 1 and 2 divide what is left of all of them laid end to end.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

__all__ = ["load_state", "load_weight", "make_room", "state_of", "weight_of"]


def weight_of(parameter: nn.Parameter) -> Tensor:
    """Return a trained weight, whole, in float32 (all)."""
    from deepspeed.utils import safe_get_full_fp32_param

    whole = safe_get_full_fp32_param(parameter)
    assert whole is not None
    return whole


def load_weight(parameter: Any, value: Tensor) -> None:
    """Overwrite a trained weight: the optimizer's float32 copy, and the model's own (all)."""
    from deepspeed.runtime.zero import GatheredParameters
    from deepspeed.utils import safe_set_full_fp32_param, safe_set_local_fp32_param

    if not hasattr(parameter, "ds_id"):
        safe_set_full_fp32_param(parameter, value.float())
        parameter.data.copy_(value)
        return
    safe_set_local_fp32_param(parameter, _own(parameter, value).float())
    with GatheredParameters([parameter], modifier_rank=0), torch.no_grad():
        parameter.data.copy_(value)


def state_of(optimizer: Any, parameter: nn.Parameter) -> dict[str, Tensor]:
    """Return what the optimizer keeps of a weight, whole, by slot (all)."""
    from deepspeed.utils import safe_get_full_optimizer_state

    states = [state for state in optimizer.optimizer.state.values() if state]
    if not states:
        return {}
    found = {}
    for slot, value in states[0].items():
        if not torch.is_tensor(value) or value.dim() == 0:
            found[slot] = torch.as_tensor(value).clone()
            continue
        whole = safe_get_full_optimizer_state(parameter, slot)
        assert whole is not None
        found[slot] = whole
    return found


def load_state(
    optimizer: Any, parameters: Mapping[str, nn.Parameter], tensors: Mapping[str, Tensor]
) -> None:
    """Take back what `state_of` gave of each weight, "SLOT/name" -> whole tensor."""
    from deepspeed.utils import safe_set_full_optimizer_state, safe_set_local_optimizer_state

    for key, value in tensors.items():
        slot, _, name = key.partition("/")
        parameter = parameters[name]
        if not value.dim():
            for state in optimizer.optimizer.state.values():
                state[slot].copy_(value)  # Adam's step, the same for all
        elif hasattr(parameter, "ds_id"):
            safe_set_local_optimizer_state(parameter, _own(parameter, value), slot)
        else:
            safe_set_full_optimizer_state(parameter, value, slot)


def make_room(optimizer: Any) -> None:
    """Give the optimizer, before its first step, the slots that it would make then.

    DeepSpeed (0.19) tells the weights of all groups where their slots lie once the first group
    has made its own, when the others have none yet.
    """
    if not isinstance(optimizer.optimizer, torch.optim.AdamW):
        return
    flats = getattr(optimizer, "fp32_partitioned_groups_flat", None)  # stage 3
    for flat in optimizer.single_partition_of_fp32_groups if flats is None else flats:
        optimizer.optimizer.state[flat] = {
            "step": torch.tensor(0.0),
            "exp_avg": torch.zeros_like(flat),
            "exp_avg_sq": torch.zeros_like(flat),
        }
    if flats is None:
        optimizer._lazy_init_hp_params_optimizer_state()


def _own(parameter: Any, value: Tensor) -> Tensor:
    """Return this process's part of a whole tensor, as ZeRO 3 divides and pads it."""
    size = parameter.ds_tensor.ds_numel
    flat = value.flatten().to(parameter.ds_tensor.device)
    start = min(dist.get_rank() * size, flat.numel())
    part = flat.new_zeros(size)
    own = flat[start : start + size]
    part[: own.numel()] = own
    return part
