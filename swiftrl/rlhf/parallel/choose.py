"""Which way of training in several processes the settings ask for."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh

from swiftrl.backends.base import Backend
from swiftrl.core import log
from swiftrl.core.compat import check_installed
from swiftrl.core.errors import ConfigError
from swiftrl.rlhf.distributed import Processes
from swiftrl.rlhf.parallel.base import Parallel
from swiftrl.rlhf.parallel.config import ParallelConfig
from swiftrl.rlhf.parallel.deepspeed_config import DeepspeedSettings, read_deepspeed
from swiftrl.rlhf.parallel.fsdp import Fsdp
from swiftrl.rlhf.parallel.fsdp_config import FsdpSettings, read_fsdp
from swiftrl.rlhf.parallel.replicated import Replicated

__all__ = ["choose_parallel"]


def choose_parallel(
    config: ParallelConfig, processes: Processes, backend: Backend, compute_dtype: torch.dtype
) -> Parallel:
    """Return how the models of a run lie over its processes.

    Args:
        config: what is asked for.
        processes: those of the run.
        backend: the hardware.
        compute_dtype: of the forward pass.

    Raises:
        ConfigError: it cannot be had.
    """
    if config.fsdp and config.deepspeed:
        raise ConfigError("--fsdp and --deepspeed: both shard the model; choose one.")
    if config.deepspeed:
        return _deepspeed(read_deepspeed(config.deepspeed), processes, backend)
    if config.fsdp:
        return _fsdp(read_fsdp(config.fsdp), processes, backend, compute_dtype)
    return Replicated(processes)


def _fsdp(
    settings: FsdpSettings, processes: Processes, backend: Backend, compute_dtype: torch.dtype
) -> Parallel:
    if processes.world_size == 1:
        if not settings.offload:
            log.info("--fsdp: there is one process, and so nothing to shard.")
            return Replicated(processes)
        dist.init_process_group(backend.dist_backend, store=dist.HashStore(), rank=0, world_size=1)
    mesh = init_device_mesh(backend.device_type, (processes.world_size,))
    return Fsdp(processes, mesh, settings, compute_dtype)


def _deepspeed(settings: DeepspeedSettings, processes: Processes, backend: Backend) -> Parallel:
    check_installed("deepspeed", extra="deepspeed", purpose="--deepspeed")
    if processes.world_size == 1:
        if not settings.offload:
            log.info("--deepspeed: there is one process, and so nothing to shard.")
            return Replicated(processes)
        dist.init_process_group(backend.dist_backend, store=dist.HashStore(), rank=0, world_size=1)
    from swiftrl.rlhf.parallel.deepspeed import Deepspeed
    from swiftrl.rlhf.parallel.deepspeed_start import start_deepspeed

    start_deepspeed(backend)
    return Deepspeed(processes, settings)
