"""Which hardware this process runs on."""

from __future__ import annotations

import itertools

from swiftrl.backends.base import Backend
from swiftrl.backends.check import Check
from swiftrl.core.errors import BackendError
from swiftrl.core.registry import Registry

__all__ = ["BACKENDS", "detect", "passed_over"]

BACKENDS: Registry[Backend] = Registry("backend", "swiftrl.backends.hardware", "BACKEND")

# Ascend first: with TORCH_TRANSFER_TO_NPU=1 torch_npu answers for the next one as well.
_PROBE_ORDER = ("ascend", "cuda", "mps", "cpu")


def detect(name: str | None = None) -> Backend:
    """Return the backend called `name`, or the first whose device is present.

    Backends from plugins are asked before the package's own.

    Raises:
        BackendError: the one asked for has no device here, or the libraries of the one found
            do not fit together.
        ConfigError: unknown name.
    """
    if name is not None:
        backend = BACKENDS.get(name)
        if not backend.available():
            raise BackendError(
                f"backend {name!r} has no usable device in this process. `swiftrl env` says what "
                "is missing."
            )
        return backend
    for candidate in _order():
        backend = BACKENDS.get(candidate)
        if backend.available():
            problem = backend.unusable()
            if problem is not None:
                raise BackendError(f"{problem} To use the CPU meanwhile: --backend cpu.")
            return backend
    raise BackendError("no device at all; the CPU backend is missing from this installation.")


def passed_over(chosen: Backend) -> list[Check]:
    """Return what is wrong with hardware that is better than `chosen` and cannot be used."""
    better = itertools.takewhile(lambda name: name != chosen.name, _order())
    found = (BACKENDS.get(name).unusable() for name in better)
    return [problem for problem in found if problem is not None]


def _order() -> tuple[str, ...]:
    plugins = [other for other in BACKENDS.names() if other not in _PROBE_ORDER]
    return (*plugins, *_PROBE_ORDER)
