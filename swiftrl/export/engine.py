"""Other people's packages that quantise in our place (`--quant_backend`), each run by itself.

A package runs in a process of its own: what it changes in other libraries ends with it, and it may
live in another environment, since most of them want other versions than this one has.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

from swiftrl.core.errors import ConfigError, ExportError
from swiftrl.core.registry import Registry
from swiftrl.export.config import QuantConfig

__all__ = ["ENGINES", "OURS", "EngineFacts", "check_engine", "engine_format", "run_engine"]

OURS = "swiftrl"
_PACKAGE = "swiftrl.export.engines"
_RUN = (
    "import json, runpy, sys; runpy.run_path(sys.argv[1])['quantise'](json.load(open(sys.argv[2])))"
)
_ASKED = (
    "desc_act",
    "damp_percent",
    "modules_to_not_convert",
    "gptaq",
    "true_sequential",
    "awq_rounding",
)


class EngineFacts(TypedDict):
    """What is known of a package without importing it.

    Attributes:
        package: that pip installs.
        imports: its name in Python.
        writes: formats by method, the default first.
        takes: settings that it serves, beside bits, groups, symmetry and rows.
        environment: variables of its process.
        note: on its versions, for errors.
    """

    package: str
    imports: str
    writes: Mapping[str, Sequence[str]]
    takes: Sequence[str]
    environment: Mapping[str, str]
    note: str


ENGINES: Registry[EngineFacts] = Registry("quantisation backend", _PACKAGE, "ENGINE")


def engine_format(config: QuantConfig) -> str:
    """Return the format that a package is to write.

    Raises:
        ConfigError: an unknown package, or one that does not serve the settings.
    """
    name = config.quant_backend
    facts, method = ENGINES.get(name), config.quant_method or ""
    if method not in facts["writes"]:
        known = " and ".join(facts["writes"])
        raise ConfigError(
            f"--quant_backend {name}: makes {known}; found --quant_method {method}. Leave "
            "--quant_backend: swiftrl makes it itself."
        )
    formats = facts["writes"][method]
    form = formats[0] if config.quant_format == "auto" else config.quant_format
    if form not in formats:
        raise ConfigError(
            f"--quant_format {form}: {name} writes {method} as {' or '.join(formats)}."
        )
    unset = QuantConfig()
    for setting in _ASKED:
        if setting not in facts["takes"] and getattr(config, setting) != getattr(unset, setting):
            raise ConfigError(
                f"--{setting}: is not served by --quant_backend {name}; leave it out."
            )
    return form


def check_engine(config: QuantConfig) -> None:
    """Import a package in a process of its own, before anything is loaded.

    Raises:
        ConfigError: it is not there, or does not import where it is.
    """
    name = config.quant_backend
    facts = ENGINES.get(name)
    imports, note = facts["imports"], f" {facts['note']}" if facts["note"] else ""
    if config.quant_python is None and importlib.util.find_spec(imports) is None:
        raise ConfigError(
            f"--quant_backend {name}: the package {facts['package']} is not installed. pip install "
            f"{facts['package']}, or name the Python of an environment that has it "
            f"(--quant_python).{note}"
        )
    python = config.quant_python or sys.executable
    try:
        done = subprocess.run(
            [python, "-I", "-c", f"import {imports}"], capture_output=True, text=True, check=False
        )
    except OSError as error:
        raise ConfigError(f"--quant_python {python}: cannot be run ({error.strerror}).") from None
    if done.returncode:
        raise ConfigError(
            f"--quant_backend {name}: {facts['package']} does not import with {python}: "
            f"{_last_line(done.stderr)}.{note}"
        )


def run_engine(config: QuantConfig, request: Mapping[str, Any], log_file: Path) -> None:
    """Have a package quantise a model.

    Args:
        config: which package, in which environment.
        request: what `quantise` of its file takes, fit for JSON.
        log_file: gets what it says, and beside it lies what it was asked for.

    Raises:
        ExportError: it failed.
    """
    name = config.quant_backend
    facts = ENGINES.get(name)
    spec = importlib.util.find_spec(f"{_PACKAGE}.{name}")
    assert spec is not None
    assert spec.origin is not None
    asked = log_file.with_suffix(".json")
    asked.write_text(json.dumps(request), encoding="utf-8")
    with log_file.open("w", encoding="utf-8") as file:
        done = subprocess.run(
            [config.quant_python or sys.executable, "-I", "-c", _RUN, spec.origin, str(asked)],
            env={**facts["environment"], **os.environ},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            cwd=log_file.parent,
            check=False,
        )
    if done.returncode:
        said = _last_line(log_file.read_text(encoding="utf-8", errors="replace"))
        raise ExportError(
            f"{facts['package']} failed: {said or f'exit code {done.returncode}'}. All that it "
            f"said is in {log_file}; --quant_backend {OURS} needs no other package."
        )


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1].rstrip(".")[-300:] if lines else ""
