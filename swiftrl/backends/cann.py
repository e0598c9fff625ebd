"""CANN, the driver and torch_npu of an Ascend machine, looked at without importing torch."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from swiftrl.backends.check import Check, first_line_of, torch_build

__all__ = ["RECOMMENDED", "RELEASES", "Release", "checks", "installed", "pairing",
           "why_import_fails"]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Release:
    """A published combination.

    Attributes:
        torch: version.
        torch_npu: version of the package.
        cann: version, or the beginning of one ("9.1").
    """

    torch: str
    torch_npu: str
    cann: str


# TorchNPU's COMPATIBILITY.md (gitcode.com/Ascend/pytorch), releases 26.0.0 to 26.1.1; rows for
# versions of torch that swiftrl runs with. vllm-ascend 0.23.0 wants the one on top.
RELEASES = (
    Release("2.10.0", "2.10.0.post4", "9.1.0"),
    Release("2.10.0", "2.10.0.post6", "9.1"),
    Release("2.10.0", "2.10.0", "9.0.0"),
    Release("2.11.0", "2.11.0", "9.1.0"),
    Release("2.11.0", "2.11.0.post2", "9.1"),
    Release("2.12.0", "2.12.0", "9.1.0"),
    Release("2.12.0", "2.12.0.post2", "9.1"),
)
RECOMMENDED = RELEASES[0]

_HOMES = ("ASCEND_TOOLKIT_HOME", "ASCEND_HOME_PATH")
_SCRIPTS = (
    "/usr/local/Ascend/cann/set_env.sh",
    "/usr/local/Ascend/ascend-toolkit/set_env.sh",
    "~/Ascend/cann/set_env.sh",
    "~/Ascend/ascend-toolkit/set_env.sh",
)
_DRIVER = Path("/usr/local/Ascend/driver/version.info")
_INSTALL = (
    f"install CANN {RECOMMENDED.cann} (or use docker/ascend.Dockerfile), then source its set_env.sh"
)


def installed() -> str | None:
    """Return the version of torch_npu, or None."""
    try:
        return importlib.metadata.version("torch_npu")
    except importlib.metadata.PackageNotFoundError:
        return None


def home(env: Mapping[str, str] | None = None) -> Path | None:
    """Return CANN's folder as set_env.sh exports it, or None where nobody sourced it."""
    env = os.environ if env is None else env
    return next((Path(env[name]) for name in _HOMES if env.get(name)), None)


def version(folder: Path) -> str | None:
    """Return the version of the toolkit in `folder`, from its own record of the installation."""
    for record in sorted(folder.glob("*-linux/ascend_*_install.info")):
        found = re.search(r"^version=(\S+)", record.read_text(encoding="utf-8"), re.MULTILINE)
        if found:
            return found[1]
    named = re.search(r"cann-(\d[\w.]*)$|/(\d[\w.]*)$", str(folder.resolve()))
    return (named[1] or named[2]) if named else None


def script() -> str | None:
    """Return the set_env.sh that is on this machine, if there is one."""
    found = (Path(name).expanduser() for name in _SCRIPTS)
    return next((str(path) for path in found if path.is_file()), None)


def checks() -> list[Check]:
    """Return what `swiftrl env` says about CANN, the driver and the versions."""
    return [_cann(), _driver(), *_versions()]


def _cann() -> Check:
    folder = home()
    if folder is None:
        there = script()
        todo = f"source {there}" if there else _INSTALL
        return Check("CANN", "its set_env.sh is not sourced", "a toolkit", todo, ok=False)
    if not folder.is_dir():
        return Check("CANN", f"{folder}: no such folder", "a toolkit", _INSTALL, ok=False)
    return Check("CANN", f"{version(folder) or 'of an unknown version'} in {folder}")


def _driver() -> Check:
    tool = shutil.which("npu-smi")
    if tool is None:
        return Check(
            "driver",
            "npu-smi not found",
            "npu-smi",
            "install the Ascend driver and firmware, or mount them into the container "
            "(docs: Ascend, Containers)",
            ok=False,
        )
    said = first_line_of([tool, "-v"]) or f"{tool} does not answer"
    record = _DRIVER.read_text(encoding="utf-8") if _DRIVER.is_file() else ""
    driver = re.search(r"^[Vv]ersion=(\S+)", record, re.MULTILINE)
    return Check("driver", said + (f"; driver {driver[1]}" if driver else ""))


def _versions() -> list[Check]:
    torch, built = torch_build()
    rows = [
        Check(
            "torch's build",
            f"{torch}, for CUDA or ROCm {built}" if built else f"{torch}, CPU",
            "the CPU build: torch_npu brings the device",
            f"pip install torch=={_plain(torch)} --index-url https://download.pytorch.org/whl/cpu"
            if built
            else "",
            ok=not built,
        )
    ]
    folder = home()
    cann = version(folder) if folder is not None and folder.is_dir() else None
    return [*rows, pairing(_plain(torch), installed(), cann)]


def pairing(torch: str, torch_npu: str | None, cann: str | None) -> Check:
    """Hold versions against the published rows."""
    same_torch = [row for row in RELEASES if row.torch == torch]
    fitting = [row for row in same_torch if cann is None or _fits(cann, row.cann)]
    expected = "; ".join(
        f"torch_npu {row.torch_npu} with CANN {row.cann}" for row in fitting or same_torch
    )
    found = f"torch_npu {torch_npu or 'absent'}, torch {torch}, CANN {cann or 'unknown'}"
    if torch_npu is None or _minor(torch_npu) != _minor(torch):
        best = (fitting or same_torch or [RECOMMENDED])[0]
        todo = f"pip install torch_npu=={best.torch_npu}"
        if best.torch != torch:
            todo = f"pip install torch=={best.torch} torch_npu=={best.torch_npu}"
        return Check("versions", found, expected or "a published row", todo, ok=False)
    if any(row.torch_npu == torch_npu and (cann is None or row in fitting) for row in same_torch):
        return Check("versions", found, expected)
    rows = "not a published combination: if something fails, use one (docs: Ascend, Versions)"
    return Check("versions", found, expected or "a published row", rows)


def why_import_fails(root: BaseException) -> Check:
    """Return what is wrong with an installation whose `import torch` fails in torch_npu.

    Args:
        root: the first of the chain of exceptions.
    """
    torch, built = torch_build()
    ours, text = installed(), str(root).strip()
    found = f"import torch fails in torch_npu {ours or 'of an unknown version'}: {text}"
    if ours is not None and _minor(ours) != _minor(torch):
        paired = pairing(_plain(torch), ours, None)
        why = f"it is made for torch {_minor(ours)}, and torch is {torch}"
        return Check("torch", f"{found}; {why}", paired.expected, paired.todo, ok=False)
    if built and "accelerators" in text:
        todo = _versions()[0].todo
        return Check("torch", found, "the CPU build of torch", todo, ok=False)
    library = re.search(r"(lib[\w.+-]+\.so[.\d]*): cannot open", text)
    if library and home() is None:
        return Check("torch", f"{found}; CANN is absent", "CANN", _cann().todo, ok=False)
    expected = pairing(_plain(torch), ours, None).expected
    todo = "`swiftrl env` shows CANN, the driver and the versions; to do without the NPU, "
    todo += "pip uninstall torch_npu"
    if library:
        todo = f"{library[1]} is not in {home()}: install the CANN of this row; {todo}"
    return Check("torch", found, expected, todo, ok=False)


def _plain(version: str) -> str:
    return version.split("+")[0]


def _minor(version: str) -> str:
    return ".".join(version.split("+")[0].split(".")[:2])


def _fits(version: str, wanted: str) -> bool:
    return version == wanted or version.startswith(f"{wanted}.")
