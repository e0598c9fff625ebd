"""What the framework itself takes of a device's memory, and its allocator on top."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Footprint", "footprint_of"]

_MIB = 2**20


@dataclass(frozen=True, slots=True)
class Footprint:
    """Memory that no tensor accounts for.

    Attributes:
        host: the device is the processor: libraries and data lie in the same memory.
        base: bytes before anything is loaded.
        slack: share of what comes and goes that the allocator keeps on top.
    """

    host: bool
    base: int
    slack: float


# Of the processor: Python, PyTorch, transformers, PEFT and oneDNN's compiled kernels, resident, as
# `make bench-plan` finds them. glibc's heap keeps what lies between blocks that are still in use.
_PROCESSOR = Footprint(host=True, base=520 * _MIB, slack=0.12)
# Of an accelerator: the context with its kernels and libraries' workspaces. Not yet measured here.
_ACCELERATOR = Footprint(host=False, base=800 * _MIB, slack=0.05)


def footprint_of(backend_name: str) -> Footprint:
    """Return the footprint on a backend's devices."""
    return _PROCESSOR if backend_name == "cpu" else _ACCELERATOR
