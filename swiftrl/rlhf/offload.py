"""Activations wait for the backward pass in the host's memory.

What autograd keeps is copied to page-locked memory behind the computation, and back when the
backward pass asks for it; numbers do not change. With gradient checkpointing only the inputs of
the layers are kept, and they are what is moved. Weights and small tensors stay where they are.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["activations_on_host", "worth_moving"]

_FEWEST_BYTES = 2**14
"""Below it a copy costs more than the memory is worth."""


@dataclass(frozen=True, slots=True)
class _Moved:
    """A tensor on the host, and when its copy is whole."""

    host: Tensor
    device: torch.device
    copied: Any


def worth_moving(tensor: Tensor, weights: frozenset[int], fewest_bytes: int) -> bool:
    """Whether a tensor that autograd keeps is an activation of some size.

    Args:
        tensor: to be kept.
        weights: storages of the model's weights, by `storage_of`.
        fewest_bytes: below it, not.
    """
    base = tensor if tensor._base is None else tensor._base
    return (
        tensor.numel() * tensor.element_size() >= fewest_bytes
        and not isinstance(base, nn.Parameter)
        and _storage(tensor) not in weights
    )


def _storage(tensor: Tensor) -> int:
    # The object's address, not its data's: sharded weights get other memory for every layer.
    return tensor.untyped_storage()._cdata


def activations_on_host(
    model: nn.Module, *, fewest_bytes: int = _FEWEST_BYTES
) -> AbstractContextManager[None]:
    """Return a context for a forward pass; what is kept within it waits on the host.

    On a processor, whose memory that is, nothing moves.

    Args:
        model: its weights stay.
        fewest_bytes: smaller tensors stay.
    """
    weights = frozenset(_storage(p) for p in (*model.parameters(), *model.buffers()))

    def pack(tensor: Tensor) -> Tensor | _Moved:
        host = tensor.device.type in ("cpu", "meta")
        if host or not worth_moving(tensor, weights, fewest_bytes):
            return tensor
        return _to_host(tensor)

    def unpack(kept: Tensor | _Moved) -> Tensor:
        return _to_device(kept) if isinstance(kept, _Moved) else kept

    return torch.autograd.graph.saved_tensors_hooks(pack, unpack)


def _to_host(tensor: Tensor) -> _Moved:
    module = torch.get_device_module(tensor.device)
    copying = _copying_stream(tensor.device)
    host = torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu", pin_memory=True)
    copying.wait_stream(module.current_stream(tensor.device))
    with module.stream(copying):
        host.copy_(tensor, non_blocking=True)
        copied = copying.record_event()
    # Its memory is not given to another until the copy is whole.
    tensor.record_stream(copying)
    return _Moved(host, tensor.device, copied)


def _to_device(moved: _Moved) -> Tensor:
    module = torch.get_device_module(moved.device)
    module.current_stream(moved.device).wait_event(moved.copied)
    return moved.host.to(moved.device, non_blocking=True)


_STREAMS: dict[torch.device, Any] = {}


def _copying_stream(device: torch.device) -> Any:
    if device not in _STREAMS:
        _STREAMS[device] = torch.get_device_module(device).Stream(device=device)
    return _STREAMS[device]
