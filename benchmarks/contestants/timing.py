"""Seconds of optimizer steps and peak memory of a device, into a file."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any


class Timing:
    """Takes the time between the ends of steps, with the device idle at each.

    Args:
        device_type: torch's name of the device, e.g. "cuda".
        file: where the figures go.
    """

    def __init__(self, device_type: str, file: Path) -> None:
        import torch

        self._file = file
        self._device: Any = None if device_type == "cpu" else torch.get_device_module(device_type)
        self._last: float | None = None
        self.seconds: list[float] = []

    def step(self) -> None:
        """Note that a step has ended."""
        if self._device is not None:
            self._device.synchronize()
        now = time.perf_counter()
        if self._last is not None:
            self.seconds.append(now - self._last)
        self._last = now
        self._file.write_text(json.dumps(self.record()))

    def record(self) -> dict[str, Any]:
        """Return the figures so far; bytes on an accelerator as its allocator counts them."""
        import resource

        if self._device is None:
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            return {"seconds": self.seconds, "peak_reserved": peak, "peak_allocated": peak}
        return {
            "seconds": self.seconds,
            "peak_reserved": self._device.max_memory_reserved(),
            "peak_allocated": self._device.max_memory_allocated(),
        }
