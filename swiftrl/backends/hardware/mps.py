"""Apple's GPUs."""

from __future__ import annotations

from swiftrl.backends.base import Backend, Memory
from swiftrl.backends.capabilities import Capabilities, Chip


class MpsBackend(Backend):
    """Metal Performance Shaders: one device that shares the machine's memory."""

    def available(self) -> bool:
        """Return whether this build of torch and this Mac have it."""
        import torch

        return torch.backends.mps.is_available()

    def set_device(self, index: int) -> None:
        """Do nothing: there is one device."""

    def mem_info(self, index: int = 0) -> Memory:
        """Return the memory that Metal recommends to stay under, and what torch holds of it."""
        module = self.module()
        total, used = module.recommended_max_memory(), module.driver_allocated_memory()
        return Memory(max(total - used, 0), total, module.current_allocated_memory(), used)

    def describe(self) -> str:
        """Return a fixed name: torch does not tell the chip."""
        return "Apple GPU"


BACKEND = MpsBackend(
    name="mps",
    device_type="mps",
    dist_backend="gloo",
    chips=(
        Chip(
            "Apple GPU",
            Capabilities(
                float64=False, complex=False, quant_load=("nf4", "bnb", "gptq", "awq"), bnb=True
            ),
        ),
    ),
)
