"""The hardware of a command: chosen by its settings, and settings it cannot serve refused."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from swiftrl.backends.base import Backend
from swiftrl.backends.detect import BACKENDS, detect, passed_over
from swiftrl.backends.importing import import_torch
from swiftrl.backends.requirements import MODEL_QUANTIZATION, NEEDS, asked
from swiftrl.core import log
from swiftrl.core.config import Settings
from swiftrl.core.errors import ConfigError
from swiftrl.core.parse import flag_values
from swiftrl.models.config import ModelConfig, QuantLoadConfig
from swiftrl.models.quantise import check_package

__all__ = ["check", "choose", "lacking"]


def choose(config: ModelConfig, *, trains: bool = False) -> Backend:
    """Return the hardware that the settings name, or the best one here.

    Its environment for training is set where unset, before it is touched.

    Args:
        config: the model settings.
        trains: for a command that could use more devices than one, which is said.

    Raises:
        BackendError: it is not here, or its libraries do not fit together.
        ConfigError: unknown name, or --use_cpu beside another --backend.
    """
    if config.use_cpu and config.backend not in (None, "cpu"):
        raise ConfigError(f"--use_cpu true and --backend {config.backend}: leave one of them out.")
    import_torch()
    backend = detect("cpu" if config.use_cpu else config.backend)
    backend.default_env("train")
    if config.backend is None and not config.use_cpu and os.environ.get("LOCAL_RANK", "0") == "0":
        for problem in passed_over(backend):
            log.warn(f"running on {backend.name}. {problem}")
        alone = not os.environ.get("NPROC_PER_NODE") and config.device_map is None
        if trains and alone and backend.count() > 1:
            log.info(f"{backend.count()} devices can be seen and one is used; "
                     "NPROC_PER_NODE=auto trains on all.")  # fmt: skip
    return backend


def check(settings: Settings, backend: Backend, *, but: Collection[str] = ()) -> None:
    """Refuse settings that need what this hardware lacks, before anything is loaded.

    Args:
        settings: the command's.
        backend: the hardware.
        but: settings that mean something else in this command.

    Raises:
        BackendError: it names each, why, and what to do instead.
        ConfigError: a package is absent.
    """
    values = {name: value for name, value in settings.as_dict().items() if name not in but}
    backend.refuse(values | {MODEL_QUANTIZATION: _quantization(settings[ModelConfig].model)})
    if QuantLoadConfig in settings.groups:
        check_package(settings[QuantLoadConfig])


def lacking(flag: str, words: Sequence[str]) -> str | None:
    """Return why this hardware could not serve a flag of ms-swift, or None if that is no reason.

    Args:
        flag: its name, which the command does not have.
        words: the whole command line after the command's name.
    """
    rows = [need for need in NEEDS if next(iter(need.settings)) == flag]
    names = {name for need in rows for name in need.settings}
    values: dict[str, Any] = {name: (flag_values(words, name) or ["true"])[-1] for name in names}
    if MODEL_QUANTIZATION in names:
        values[MODEL_QUANTIZATION] = _quantization((flag_values(words, "model") or [None])[-1])
    if not any(asked(need, values) for need in rows):
        return None
    backend = _named(words)
    found = [problem.reason for problem in backend.problems(values) if problem.setting == flag]
    return found[0] if found else None


def _named(words: Sequence[str]) -> Backend:
    """Return the hardware that a command line names, which need not be here, or the best here."""
    use_cpu = flag_values(words, "use_cpu")
    if use_cpu and use_cpu[-1].lower() in ("true", "yes", "1", "on"):
        return BACKENDS.get("cpu")
    name = (flag_values(words, "backend") or [None])[-1]
    if name is not None and name not in ("null", "None"):
        return BACKENDS.get(name)
    import_torch()
    return detect()


def _quantization(model: str | None) -> str | None:
    """Return how the weights of a local model folder are quantised, or None."""
    file = Path(model or "") / "config.json"
    if not model or not file.is_file():
        return None
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None  # a broken folder is named when the model is looked at
    section = config.get("quantization_config") if isinstance(config, dict) else None
    return section.get("quant_method") if isinstance(section, dict) else None
