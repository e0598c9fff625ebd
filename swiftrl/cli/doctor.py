"""What `swiftrl env` looks at: it answers where torch itself cannot be imported."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import socket
import sys

from swiftrl import __version__
from swiftrl.backends import cann, nvidia
from swiftrl.backends.check import Check
from swiftrl.backends.importing import torch_failure
from swiftrl.core.errors import SwiftRLError

__all__ = ["examine"]

# Package -> extra of swiftrl, and what it is for.
EXTRAS = {
    "modelscope": ("modelscope", "model and data ids of ModelScope"),
    "av": ("media", "videos and sounds"),
    "math_verify": ("math", "the reward math"),
    "tensorboard": ("tensorboard", "--report_to tensorboard"),
    "wandb": ("wandb", "--report_to wandb"),
    "swanlab": ("swanlab", "--report_to swanlab"),
}
# Shown where installed, since their versions matter when something fails.
OTHERS = ("triton", "deepspeed", "flash_attn", "liger_kernel", "bitsandbytes", "vllm")
_PYTHONS = ((3, 10), (3, 13))
_LEAST_DISK_GIB, _LITTLE_DISK_GIB = 1, 5
_PORT = 29500


def examine() -> list[Check]:
    """Return every row of the report."""
    return [
        Check("swiftrl", __version__),
        _python(),
        *_packages(),
        *_extras(),
        *_hardware(),
        _disk(),
        *_processes(),
        _builtin(),
    ]


def _python() -> Check:
    first, last = _PYTHONS
    ok = first <= sys.version_info[:2] <= last
    expected = ".".join(map(str, first)) + " to " + ".".join(map(str, last))
    todo = "" if ok else f"make setup PYTHON=python{last[0]}.{last[1]}"
    return Check("python", f"{platform.python_version()} ({sys.executable})", expected, todo, ok)


def _packages() -> list[Check]:
    """Hold what swiftrl requires against what is installed."""
    try:
        required = importlib.metadata.requires("swiftrl") or []
    except importlib.metadata.PackageNotFoundError:
        return [Check("packages", "swiftrl runs from a folder: what it needs is not recorded")]
    rows = []
    for line in required:
        found = re.match(r"([\w.-]+)([^;]*)$", line)
        if found is None or "extra" in line:
            continue
        rows.append(_package(found[1], found[2].strip()))
    return rows


def _package(name: str, wanted: str) -> Check:
    version = _version(name)
    if version is None:
        return Check(name, "not installed", wanted, f"pip install '{name}{wanted}'", ok=False)
    ok = all(_satisfies(version, *bound) for bound in re.findall(r"([<>]=?)\s*([\d.]+)", wanted))
    return Check(name, version, wanted, "" if ok else f"pip install '{name}{wanted}'", ok)


def _satisfies(version: str, relation: str, bound: str) -> bool:
    ours, limit = _numbers(version), _numbers(bound)
    if relation.startswith(">"):
        return ours >= limit
    return ours < limit or (relation == "<=" and ours == limit)


def _numbers(version: str) -> tuple[int, ...]:
    """Return a version's numbers, without zeros at the end: 2.10 and 2.10.0 are equal."""
    found = re.match(r"[\d.]*", version)
    numbers = [int(part) for part in (found[0] if found else "").split(".") if part]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def _extras() -> list[Check]:
    rows = []
    for name, (extra, purpose) in EXTRAS.items():
        todo = f"only for {purpose}: pip install 'swiftrl[{extra}]'"
        version = _version(name)
        rows.append(Check(name, version) if version else Check(name, "not installed", todo=todo))
    found = {name: _version(name) for name in OTHERS}
    return rows + [Check(name, version) for name, version in found.items() if version]


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _hardware() -> list[Check]:
    from swiftrl.backends.detect import BACKENDS, detect, passed_over

    host = BACKENDS.get("cpu")
    memory = host.mem_info()
    found = f"{memory.free / 2**30:.1f} GiB free of {memory.total / 2**30:.1f} GiB"
    here = Check("memory of this machine", found)
    problem = torch_failure()
    if problem is None:
        try:
            backend = detect()
        except SwiftRLError as error:
            problem = Check("backend", str(error), todo="see the message", ok=False)
        else:
            title = f"{backend.name}; computes in {backend.compute_dtype()}"
            rows = [Check("backend", title), *backend.doctor(), *passed_over(backend)]
            return rows if backend is host else [*rows, here]
    # Without torch, or with libraries that do not fit: what can be read off the machine.
    ascend = cann.checks() if cann.installed() else []
    graphics = [nvidia.driver_check()] if nvidia.tool() else []
    return [problem, *ascend, *graphics, here]


def _disk() -> Check:
    free = shutil.disk_usage(".").free / 2**30
    todo = "free some space: checkpoints go here unless --output_dir says otherwise"
    return Check(
        "disk",
        f"{free:.0f} GiB free here",
        todo=todo if free < _LITTLE_DISK_GIB else "",
        ok=free > _LEAST_DISK_GIB,
    )


def _processes() -> list[Check]:
    """Look at torchrun's variables: a port that is taken is found before a run is."""
    rows = []
    for name in ("NPROC_PER_NODE", "NNODES", "NODE_RANK", "MASTER_ADDR"):
        if os.environ.get(name):
            rows.append(Check(name, os.environ[name]))
    text = os.environ.get("MASTER_PORT") or str(_PORT)
    if not text.isdigit() or not 0 < int(text) < 65536:
        todo = "export MASTER_PORT=29500, or another number up to 65535"
        return [*rows, Check("MASTER_PORT", text, "a port", todo, ok=False)]
    if os.environ.get("NODE_RANK", "0") != "0":
        return [*rows, Check("MASTER_PORT", f"{text}, on the first machine")]
    free = _is_free(int(text))
    asked = bool(os.environ.get("MASTER_PORT"))
    todo = "" if free else "export MASTER_PORT to another number, on every machine"
    found = f"{text}, {'free' if free else 'taken'}" + ("" if asked else " (the default)")
    return [*rows, Check("MASTER_PORT", found, "a free port", todo, ok=free or not asked)]


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True


def _builtin() -> Check:
    from swiftrl.models.builtin_models import builtin_names

    return Check("built-in models", " ".join(f"builtin:{name}" for name in builtin_names()))
