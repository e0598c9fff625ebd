"""Which hardware this process runs on."""

from __future__ import annotations

from swiftrl.backends.base import Backend
from swiftrl.core.errors import BackendError
from swiftrl.core.registry import Registry

__all__ = ["BACKENDS", "detect"]

BACKENDS: Registry[Backend] = Registry("backend", "swiftrl.backends.hardware", "BACKEND")

# Ascend first: with TORCH_TRANSFER_TO_NPU=1 torch_npu answers for the next one as well.
_PROBE_ORDER = ("ascend", "cuda", "mps", "cpu")


def detect(name: str | None = None) -> Backend:
    """Return the backend called `name`, or the first whose device is present.

    Backends from plugins are asked before the package's own.

    Raises:
        BackendError: the one asked for has no device here.
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
    plugins = [other for other in BACKENDS.names() if other not in _PROBE_ORDER]
    for candidate in (*plugins, *_PROBE_ORDER):
        backend = BACKENDS.get(candidate)
        if backend.available():
            return backend
    raise BackendError("no device at all; the CPU backend is missing from this installation.")
