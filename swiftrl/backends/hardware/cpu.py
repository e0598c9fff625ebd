"""Any CPU."""

from __future__ import annotations

import ctypes
import os
import resource
import sys
from collections.abc import MutableMapping

from swiftrl.backends.base import Backend, Memory, Role
from swiftrl.backends.capabilities import Capabilities, Chip


class CpuBackend(Backend):
    """The processor itself: one device, the machine's memory."""

    def available(self) -> bool:
        """Return True: there always is one."""
        return True

    def count(self) -> int:
        """Return 1: all cores are one device to torch."""
        return 1

    def device(self, index: int = 0):
        """Return torch.device("cpu"); processes on one machine share it."""
        import torch

        return torch.device(self.device_type)

    def set_device(self, index: int) -> None:
        """Do nothing: any number of processes may share the CPU."""

    def synchronize(self) -> None:
        """Do nothing: work is done when a call returns."""

    def empty_cache(self) -> None:
        """Do nothing: torch keeps no cache of host memory."""

    def default_env(self, role: Role, env: MutableMapping[str, str] | None = None) -> list[str]:
        """Set the variables, and how the process gets its memory."""
        if env is None:
            _return_large_blocks()
        return super().default_env(role, env)

    def mem_info(self, index: int = 0) -> Memory:
        """Return the machine's memory, or the container's where that is less; peak is ours."""
        page = os.sysconf("SC_PAGE_SIZE")
        total = os.sysconf("SC_PHYS_PAGES") * page
        free = _available_bytes(os.sysconf("SC_AVPHYS_PAGES") * page)
        limit, used = _cgroup()
        if limit is not None and limit < total:
            total, free = limit, min(free, max(limit - used, 0))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        # macOS counts bytes, Linux KiB.
        return Memory(
            free, total, _resident_bytes(), peak if sys.platform == "darwin" else peak * 1024
        )

    def describe(self) -> str:
        """Return the processor's model name and the number of usable cores."""
        name = "processor"
        if os.path.exists("/proc/cpuinfo"):
            with open("/proc/cpuinfo", encoding="utf-8") as file:
                names = [line.split(":", 1)[1].strip() for line in file if "model name" in line]
            name = names[0] if names else name
        return f"{name}, {usable_cores()} cores"


_MMAP_THRESHOLD = -3
"""glibc's M_MMAP_THRESHOLD (malloc.h)."""
_LARGE = 4 * 2**20


def _return_large_blocks() -> None:
    """Let blocks of 4 MiB and more go back to the system when they are freed.

    Left alone, glibc raises that bound to 32 MiB, and activations leave gaps in its heap that
    blocks of another size do not fill.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # musl has none
        mallopt(_MMAP_THRESHOLD, _LARGE)


def usable_cores() -> int:
    """Return the number of cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _available_bytes(fallback: int) -> int:
    if not os.path.exists("/proc/meminfo"):
        return fallback
    with open("/proc/meminfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return fallback


def _cgroup() -> tuple[int | None, int]:
    """Return the container's memory limit, if any, and what is used of it (cgroup v2)."""
    try:
        with open("/sys/fs/cgroup/memory.max", encoding="utf-8") as file:
            limit = file.read().strip()
        with open("/sys/fs/cgroup/memory.current", encoding="utf-8") as file:
            used = int(file.read())
    except (OSError, ValueError):
        return None, 0
    return (int(limit), used) if limit.isdigit() else (None, used)


def _resident_bytes() -> int:
    if not os.path.exists("/proc/self/statm"):
        return 0
    with open("/proc/self/statm", encoding="utf-8") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


BACKEND = CpuBackend(
    name="cpu",
    device_type="cpu",
    dist_backend="gloo",
    start_method="fork",
    # Threads that wait for each other sleep after a few microseconds. Spinning for milliseconds,
    # the default, costs a busy machine several times the processor time and the wall time of a
    # step (12.2 s against 4.7 s, 11.6 against 2.8); sleeping at once costs a quiet one a quarter of
    # its wall time (1.13 s against 0.84). GNU's OpenMP reads the second, others the first.
    # oneDNN, and PyTorch's layer over it, keep up to 1024 compiled products each. Rows of ever new
    # lengths bring ever new ones: 16 steps of the smallest model of `make bench-plan` on pairs of
    # 230 to 280 and 115 to 140 tokens end with 1452 MiB instead of 958, 60 with 2040, and take as
    # long.
    environment={
        "train": {
            "OMP_WAIT_POLICY": "PASSIVE",
            "GOMP_SPINCOUNT": "3000",
            "LRU_CACHE_CAPACITY": "64",
            "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "64",
        }
    },
    chips=(
        Chip(
            "CPU",
            Capabilities(
                fp16=False,
                grouped_mm=True,
                compile=True,
                attention=("sdpa", "eager"),
                quant_load=("nf4", "bnb", "gptq", "awq"),
                quant_serve=("gptq", "awq", "compressed-tensors"),
                quant_export=("gptq", "awq", "bnb"),
                bnb=True,
            ),
        ),
    ),
)
