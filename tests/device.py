"""The device that tests run on: the CPU, unless `pytest --device npu` says another.

Programs that tests start are told by their arguments.
"""

from __future__ import annotations

from typing import Any

from swiftrl.backends.base import Backend
from swiftrl.backends.detect import BACKENDS

_chosen = "cpu"


def choose(device_type: str) -> None:
    """Let tests run on `device_type`; conftest.py calls this before any is collected."""
    global _chosen
    backend_of(device_type)
    _chosen = device_type


def backend_of(device_type: str) -> Backend:
    """Return the backend of a device by torch's name of it, e.g. "npu"."""
    backends = {backend.device_type: backend for backend in map(BACKENDS.get, BACKENDS.names())}
    return backends[device_type]


def name() -> str:
    """Return torch's name of the device, e.g. "cpu"."""
    return _chosen


def backend() -> Backend:
    return backend_of(_chosen)


def flags() -> list[str]:
    """Return the words that make a command run on the device."""
    return ["--use_cpu", "true"] if _chosen == "cpu" else []


def put(value: Any) -> Any:
    """Return a module, tensor or batch on the device."""
    return value.to(_chosen)


def use_all() -> None:
    """Put something on every device of the kind."""
    import torch

    for index in range(backend().count()):
        torch.ones(1, device=backend().device(index))
