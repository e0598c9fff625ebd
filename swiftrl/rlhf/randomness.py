"""The state of every source of random numbers in a process, ready for JSON."""

from __future__ import annotations

import base64
import random
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["random_state", "restore_random_state"]


def random_state(device: torch.device) -> dict[str, Any]:
    """Return the states of Python, NumPy, torch and the device."""
    kind, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    version, words, gauss = random.getstate()
    state: dict[str, Any] = {
        "python": [version, list(words), gauss],
        "numpy": [kind, np.asarray(keys).tolist(), position, has_gauss, cached],
        "torch": _text(torch.get_rng_state()),
    }
    module = torch.get_device_module(device)
    if hasattr(module, "get_rng_state"):
        state["device"] = _text(module.get_rng_state())
    return state


def restore_random_state(state: dict[str, Any], device: torch.device) -> None:
    """Take back what `random_state` gave."""
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    kind, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((kind, np.array(keys, dtype=np.uint32), position, has_gauss, cached))
    torch.set_rng_state(_tensor(state["torch"]))
    module = torch.get_device_module(device)
    if "device" in state and hasattr(module, "set_rng_state"):
        module.set_rng_state(_tensor(state["device"]))


def _text(state: Tensor) -> str:
    return base64.b64encode(state.cpu().numpy().tobytes()).decode()


def _tensor(text: str) -> Tensor:
    return torch.frombuffer(bytearray(base64.b64decode(text)), dtype=torch.uint8)
