"""Where metrics go: metrics.jsonl always, trackers when asked."""

from __future__ import annotations

import json
import math
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from swiftrl.core.compat import require
from swiftrl.core.files import disk_errors, write_text

__all__ = ["MetricsFile", "Tracker", "open_trackers"]


class MetricsFile:
    """metrics.jsonl: one JSON object a line, each with its step.

    Args:
        path: the file.
        resumed_step: lines of later steps are of work that was lost, and are taken out; None for
            a new run.
    """

    def __init__(self, path: Path, resumed_step: int | None = None) -> None:
        self.path = path
        self.lines: list[dict[str, Any]] = []
        if resumed_step is not None and path.is_file():
            self.lines = [line for line in _read(path) if line["step"] <= resumed_step]
        write_text(path, "".join(_json(line) for line in self.lines))

    def add(self, line: Mapping[str, Any]) -> None:
        """Append a line, on the disk when this returns."""
        self.lines.append(dict(line))
        with disk_errors(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(_json(line))
            file.flush()
            os.fsync(file.fileno())


def _json(line: Mapping[str, Any]) -> str:
    # JSON has no NaN: what is not a number is null.
    clean = {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in line.items()
    }
    return json.dumps(clean, ensure_ascii=False) + "\n"


def _read(path: Path) -> list[dict[str, Any]]:
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            break  # a kill cut this line short
    return lines


class Tracker(ABC):
    """A service or file format that shows metrics."""

    @abstractmethod
    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Record values at a step."""

    @abstractmethod
    def close(self) -> None:
        """Write out what is pending."""


class _TensorBoard(Tracker):
    def __init__(self, folder: Path, name: str, settings: Mapping[str, Any], step: int) -> None:
        require("tensorboard", extra="tensorboard", purpose="--report_to tensorboard")
        writer = require(
            "torch.utils.tensorboard", extra="tensorboard", purpose="--report_to tensorboard"
        )
        self.writer = writer.SummaryWriter(
            str(folder / "tensorboard"), purge_step=step + 1 if step else None
        )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for key, value in values.items():
            self.writer.add_scalar(key, value, step)

    def close(self) -> None:
        self.writer.close()


class _Wandb(Tracker):
    def __init__(self, folder: Path, name: str, settings: Mapping[str, Any], step: int) -> None:
        wandb = require("wandb", extra="wandb", purpose="--report_to wandb")
        self.run = wandb.init(
            project="swiftrl",
            name=name,
            id=_run_id(folder, name),
            dir=str(folder),
            config=dict(settings),
            resume="allow",
        )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self.run.log(dict(values), step=step)

    def close(self) -> None:
        self.run.finish()


class _SwanLab(Tracker):
    def __init__(self, folder: Path, name: str, settings: Mapping[str, Any], step: int) -> None:
        self.swanlab = require("swanlab", extra="swanlab", purpose="--report_to swanlab")
        self.swanlab.init(
            project="swiftrl",
            experiment_name=name,
            id=_run_id(folder, name),
            resume="allow",
            config=dict(settings),
            logdir=str(folder / "swanlab"),
        )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self.swanlab.log(dict(values), step=step)

    def close(self) -> None:
        self.swanlab.finish()


_TRACKERS = {"tensorboard": _TensorBoard, "wandb": _Wandb, "swanlab": _SwanLab}


def _run_id(folder: Path, name: str) -> str:
    """Return an identity that a resumed run shares with what it goes on from."""
    import hashlib

    return hashlib.sha256(f"{folder.absolute()} {name}".encode()).hexdigest()[:21]


def open_trackers(
    names: Sequence[str],
    *,
    folder: Path,
    run_name: str | None,
    settings: Mapping[str, Any],
    step: int = 0,
) -> list[Tracker]:
    """Open the trackers asked for.

    Args:
        names: tensorboard, wandb, swanlab; "none" is nothing.
        folder: of the run.
        run_name: shown there; None for the folder's name.
        settings: of the run.
        step: where a resumed run goes on.

    Raises:
        ConfigError: a package is not installed; the message names the extra.
    """
    return [
        _TRACKERS[name](folder, run_name or folder.name, settings, step)
        for name in dict.fromkeys(names)
        if name != "none"
    ]
