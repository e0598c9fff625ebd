"""DeepSpeed's own set-up: its accelerator is ours, its processes are those that have joined."""

from __future__ import annotations

import logging
import warnings

from swiftrl.backends.base import Backend
from swiftrl.core.errors import BackendError

__all__ = ["start_deepspeed"]


def start_deepspeed(backend: Backend) -> None:
    """Make DeepSpeed work on `backend`, in the process group that exists, and quietly.

    Raises:
        BackendError: it has found other hardware, or none of ours.
    """
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        import deepspeed
        from deepspeed.accelerator import get_accelerator, set_accelerator

        if backend.device_type == "cpu":
            from deepspeed.accelerator.cpu_accelerator import CPU_Accelerator

            set_accelerator(CPU_Accelerator())
    finally:
        logging.disable(before)
    deepspeed.utils.logger.setLevel(logging.ERROR)
    # Names that torch has given up, and a hook that is meant to fire.
    warnings.filterwarnings("ignore", category=FutureWarning, module="torch.distributed")
    warnings.filterwarnings("ignore", "Full backward hook is firing", category=UserWarning)
    accelerator = get_accelerator()
    found = accelerator.device_name() if accelerator is not None else "nothing"
    if found != backend.device_type:
        raise BackendError(
            f"--deepspeed: DeepSpeed has found {found} here, swiftrl {backend.device_type}. "
            "DS_ACCELERATOR tells DeepSpeed which to take; or use --fsdp fsdp2."
        )
    if backend.dist_backend == "gloo":
        # Its collectives for the processors of one machine are compiled when they are first
        # wanted, which takes a compiler and a minute; gloo's do the same.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.init_distributed(dist_backend=backend.dist_backend, auto_mpi_discovery=False)
