"""`swiftrl env`: what this machine has, and what is missing."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
import shutil
import sys
from dataclasses import dataclass

from swiftrl import __version__
from swiftrl.backends.base import Check
from swiftrl.cli.command import Command
from swiftrl.core import log
from swiftrl.core.config import Settings, setting

__all__ = ["COMMAND", "EnvConfig"]

NEEDED = ("torch", "transformers", "peft", "accelerate", "datasets", "safetensors", "tokenizers")
EXTRAS = {
    "modelscope": "model and data ids of ModelScope",
    "tensorboard": "--report_to tensorboard",
    "wandb": "--report_to wandb",
    "swanlab": "--report_to swanlab",
}


@dataclass(frozen=True)
class EnvConfig:
    """Report."""

    json: bool = setting(False, "Print the report as JSON.")


def run(settings: Settings) -> int:
    """Print the report; 0 if everything needed is there, else 2."""
    checks = [
        Check("swiftrl", __version__),
        Check("python", f"{platform.python_version()} ({sys.executable})", "3.10 to 3.13"),
        *[_package(name) for name in NEEDED],
        *[_extra(name, purpose) for name, purpose in EXTRAS.items()],
        *_hardware(),
        _disk(),
        _builtin(),
    ]
    if settings[EnvConfig].json:
        import dataclasses
        import json

        log.info(json.dumps([dataclasses.asdict(check) for check in checks], indent=2))
    else:
        rows = [
            ("ok" if check.ok else "MISSING", check.name, check.found, check.expected or check.todo)
            for check in checks
        ]
        log.table("This machine", ["", "what", "found", "expected, or what to do"], rows)
        for check in checks:
            if not check.ok:
                log.warn(f"{check.name}: {check.todo or 'expected ' + check.expected}")
    return 0 if all(check.ok for check in checks) else 2


def _package(name: str) -> Check:
    try:
        return Check(name, importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return Check(name, "not installed", todo=f"pip install {name}", ok=False)


def _extra(name: str, purpose: str) -> Check:
    if importlib.util.find_spec(name) is None:
        todo = f"only for {purpose}: pip install 'swiftrl[{name}]'"
        return Check(name, "not installed", todo=todo)
    return Check(name, importlib.metadata.version(name))


def _hardware() -> list[Check]:
    from swiftrl.backends.detect import detect

    backend = detect()
    return [
        Check("backend", f"{backend.name}; computes in {backend.compute_dtype()}"),
        *backend.doctor(),
    ]


def _disk() -> Check:
    free = shutil.disk_usage(".").free / 2**30
    return Check(
        "disk", f"{free:.0f} GiB free here", todo="free some space" if free < 5 else "", ok=free > 1
    )


def _builtin() -> Check:
    from swiftrl.models.builtin_models import builtin_names

    return Check("built-in models", " ".join(f"builtin:{name}" for name in builtin_names()))


COMMAND = Command(
    summary="Show what this machine has, and what is missing.",
    description="Show versions, hardware and optional packages, with what to do about gaps.",
    groups=lambda argv: [EnvConfig],
    run=run,
)
