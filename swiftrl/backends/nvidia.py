"""NVIDIA's driver beside the CUDA that torch was built for."""

from __future__ import annotations

import shutil

from swiftrl.backends.check import Check, first_line_of, torch_build

__all__ = ["OLDEST_DRIVERS", "driver_check", "driver_version", "tool"]

# CUDA's guide to compatibility, "Minor Version Compatibility": the oldest driver for a major one.
OLDEST_DRIVERS = {"11": "450", "12": "525", "13": "580"}


def tool() -> str | None:
    """Return the path of nvidia-smi, or None."""
    return shutil.which("nvidia-smi")


def driver_version() -> str | None:
    """Return the driver's version, or None if nvidia-smi is absent or fails."""
    command = tool()
    if command is None:
        return None
    return first_line_of([command, "--query-gpu=driver_version", "--format=csv,noheader"])


def driver_check() -> Check:
    """Hold the driver against torch's CUDA."""
    torch, built = torch_build()
    if tool() is None:
        todo = "install NVIDIA's driver, or start the container with --gpus all"
        return Check("driver", "nvidia-smi not found", "NVIDIA's driver", todo, ok=False)
    driver = driver_version()
    if driver is None:
        todo = "run it by hand; a restart or the driver installed anew usually helps"
        return Check("driver", "nvidia-smi fails", "NVIDIA's driver", todo, ok=False)
    if built is None:
        return Check(
            "driver",
            f"NVIDIA's driver {driver}, and torch {torch} is built for the CPU",
            "torch built for CUDA",
            f"pip install --force-reinstall torch=={torch.split('+')[0]}",
            ok=False,
        )
    oldest = OLDEST_DRIVERS.get(built.split(".")[0], "")
    if _numbers(driver) < _numbers(oldest):
        return Check(
            "driver",
            f"NVIDIA's driver {driver}, and torch {torch} is built for CUDA {built}",
            f"driver {oldest} or newer",
            "update the driver, or install a torch built for an older CUDA",
            ok=False,
        )
    return Check("driver", f"{driver}; torch is built for CUDA {built}", f">= {oldest}")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())
