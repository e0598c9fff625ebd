"""The state of every source of random numbers in a process, ready for JSON."""

from __future__ import annotations

import base64
import random
from typing import Any

import numpy as np
import torch

__all__ = ["random_state", "restore_random_state"]


def random_state(device: torch.device) -> dict[str, Any]:
    """Return the states of Python, NumPy, torch and the device."""
    kind, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    version, words, gauss = random.getstate()
    state: dict[str, Any] = {
        "python": [version, _text(np.array(words, dtype=np.uint32)), gauss],
        "numpy": [kind, _text(np.asarray(keys)), position, has_gauss, cached],
        "torch": _text(torch.get_rng_state().numpy()),
    }
    module = torch.get_device_module(device)
    if hasattr(module, "get_rng_state"):
        state["device"] = _text(module.get_rng_state().cpu().numpy())
    return state


def restore_random_state(state: dict[str, Any], device: torch.device) -> None:
    """Take back what `random_state` gave."""
    version, words, gauss = state["python"]
    random.setstate((version, tuple(_array(words, np.uint32).tolist()), gauss))
    kind, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((kind, _array(keys, np.uint32), position, has_gauss, cached))
    torch.set_rng_state(torch.from_numpy(_array(state["torch"], np.uint8)))
    module = torch.get_device_module(device)
    if "device" in state and hasattr(module, "set_rng_state"):
        module.set_rng_state(torch.from_numpy(_array(state["device"], np.uint8)))


def _text(values: np.ndarray) -> str:
    return base64.b64encode(values.tobytes()).decode()


def _array(text: str, kind: type[np.generic]) -> np.ndarray:
    return np.frombuffer(bytearray(base64.b64decode(text)), dtype=kind)
