"""Tensors in equal parts over the processes: the rows r * n/W to (r + 1) * n/W of each.

That is how torch divides the first dimension (`Shard(0)`): parts of ceil(n / W) rows, of which
the last ones may be shorter or empty.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from swiftrl.core.errors import ModelError
from swiftrl.rlhf.distributed import Processes
from swiftrl.rlhf.stored import StoredTensors, rows_of

__all__ = ["gather_whole", "local", "own_of", "own_part", "own_rows", "spread", "take_whole"]


def own_rows(rows: int, processes: Processes) -> slice:
    """Return which rows of a tensor this process holds."""
    return rows_of(rows, processes.rank, processes.world_size)


def own_part(whole: Tensor, processes: Processes) -> Tensor:
    """Return this process's part of a whole tensor, as a view."""
    return whole[own_rows(len(whole), processes)]


def own_of(tensors: Mapping[str, Tensor], name: str, processes: Processes) -> Tensor:
    """Return this process's part of a whole tensor; of one in files, no more than that is read."""
    if isinstance(tensors, StoredTensors):
        shape = tensors.shape(name)
        return tensors.rows(name, own_rows(shape[0], processes) if shape else slice(None))
    whole = tensors[name]
    return own_part(whole, processes) if whole.dim() else whole


def local(tensor: Tensor) -> Tensor:
    """Return this process's part of a divided tensor, without gradient; others as they are."""
    tensor = tensor.detach()
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def gather_whole(part: Tensor, shape: torch.Size, processes: Processes) -> Tensor:
    """Return a tensor whole, on this process's device; every process calls this with its part."""
    if processes.world_size == 1:
        return part.detach().to(processes.device)
    size = -(-shape[0] // processes.world_size)
    padded = torch.zeros(size, *shape[1:], dtype=part.dtype, device=processes.device)
    padded[: len(part)] = part.detach()
    parts = [torch.empty_like(padded) for _ in range(processes.world_size)]
    with processes.together():
        dist.all_gather(parts, padded)
    return torch.cat(parts)[: shape[0]]


def take_whole(model: nn.Module, processes: Processes) -> dict[str, Tensor] | None:
    """Make ready to divide a model: bring what trains to the main process's values.

    Where some processes have no values at all (their weights are on the meta device), the main
    one's are remembered instead, for `spread`.

    Returns:
        weights by name (none outside of the main process), or None if every process has its own.
    """
    empty = float(any(p.is_meta for p in model.parameters()))
    if not processes.sum([empty])[0]:
        processes.copy_from_main(p for p in model.parameters() if p.requires_grad)
        return None
    _check_attributes(model)
    # Some weights may be kept in another type than the model's.
    kinds = processes.share({name: p.dtype for name, p in model.named_parameters()})
    for name, parameter in model.named_parameters():
        if parameter.dtype != kinds[name]:
            parameter.data = parameter.data.to(kinds[name])
    return {name: p.data for name, p in model.named_parameters()} if processes.is_main else {}


def _check_attributes(model: nn.Module) -> None:
    """Refuse a model that keeps values outside of parameters and buffers, which nobody brings.

    Raises:
        ModelError: the message names one.
    """
    for name, module in model.named_modules():
        for key, value in vars(module).items():
            if isinstance(value, Tensor) and value.is_meta:
                raise ModelError(
                    f"{type(module).__name__} ({name}.{key}) keeps values that only the process "
                    'that reads the files has. Give --fsdp a JSON file with "fsdp_config": '
                    '{"cpu_ram_efficient_loading": false}.'
                )


def spread(
    root: nn.Module,
    model: nn.Module,
    taken: dict[str, Tensor],
    processes: Processes,
    *,
    on_host: bool,
) -> None:
    """Give every process its part of the main one's weights, one weight at a time.

    Args:
        root: the divided model's outermost unit.
        model: inside it, divided.
        taken: from `take_whole`; emptied.
        processes: those of the run.
        on_host: whether the parts stay in the host's memory.
    """
    if not processes.is_main:
        root.to_empty(device=torch.device("cpu") if on_host else processes.device)
        for module in model.modules():
            for name, buffer in module.named_buffers(recurse=False):
                module._buffers[name] = buffer.to(processes.device)
    for name, parameter in model.named_parameters():
        if processes.is_main:
            whole = taken.pop(name).to(processes.device).contiguous()
        else:
            whole = torch.empty(parameter.shape, dtype=parameter.dtype, device=processes.device)
        processes.copy_from_main([whole])
        if not processes.is_main:
            divided = isinstance(parameter.data, DTensor)
            local(parameter).copy_(own_part(whole, processes) if divided else whole)
    processes.copy_from_main(model.buffers())
