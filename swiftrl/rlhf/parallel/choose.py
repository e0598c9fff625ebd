"""Which way of training in several processes the settings ask for."""

from __future__ import annotations

from swiftrl.backends.base import Backend
from swiftrl.core.errors import ConfigError
from swiftrl.rlhf.distributed import Processes
from swiftrl.rlhf.parallel.base import Parallel
from swiftrl.rlhf.parallel.config import ParallelConfig
from swiftrl.rlhf.parallel.replicated import Replicated

__all__ = ["choose_parallel"]


def choose_parallel(config: ParallelConfig, processes: Processes, backend: Backend) -> Parallel:
    """Return how the models of a run lie over its processes.

    Args:
        config: what is asked for.
        processes: those of the run.
        backend: the hardware.

    Raises:
        ConfigError: it cannot be had.
    """
    if config.fsdp and config.deepspeed:
        raise ConfigError("--fsdp and --deepspeed: both shard the model; choose one.")
    for name in ("fsdp", "deepspeed"):
        if getattr(config, name):
            raise ConfigError(
                f"--{name}: sharding is not part of this version; NPROC_PER_NODE=N runs data "
                "parallelism."
            )
    return Replicated(processes)
