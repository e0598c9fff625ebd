"""Blocks that are done, kept beside the result until it is whole.

The folder `.NAME.partial` holds a file a block and a fingerprint of all that the result depends
on. Each file is written under another name first, so that a killed run leaves whole files only;
the same command goes on behind the last of them.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from swiftrl.core import log
from swiftrl.core.files import disk_errors, write_json

__all__ = ["DoneBlock", "WorkFolder", "fingerprint_of", "folder_stamp"]

_FINGERPRINT = "fingerprint.json"
_RECORDS = "records"


@dataclass(frozen=True, slots=True)
class DoneBlock:
    """A block whose layers are quantised.

    Attributes:
        packed: the tensors of its layers, by full name.
        changed: its other weights that are not as they were, by full name.
        records: what the report says of its layers.
    """

    packed: Mapping[str, torch.Tensor]
    changed: Mapping[str, torch.Tensor]
    records: list[dict[str, Any]]


class WorkFolder:
    """Where blocks wait for the others.

    Args:
        target: the folder of the result.
        fingerprint: of settings, model and data, by part.
    """

    def __init__(self, target: Path, fingerprint: Mapping[str, str]) -> None:
        self.path = target.with_name(f".{target.name}.partial")
        self.fingerprint = dict(fingerprint)

    def open(self) -> int:
        """Make the folder, or take up one of an interrupted run; return how many blocks it holds.

        Blocks of other settings, another model or other data are removed, and that is said.
        """
        with disk_errors(self.path):
            found = self._found()
            if found is not None and found != self.fingerprint:
                parts = [
                    name for name, value in self.fingerprint.items() if found.get(name) != value
                ]
                log.info(
                    f"{self.path}: holds an interrupted run with other {' and '.join(parts)}; "
                    "starting anew."
                )
                shutil.rmtree(self.path)
            self.path.mkdir(parents=True, exist_ok=True)
            write_json(self.path / _FINGERPRINT, self.fingerprint)
        done = 0
        while self._is_whole(self._file(done)):
            done += 1
        if done:
            log.info(f"Going on behind {done} blocks that an interrupted run left in {self.path}.")
        return done

    def _found(self) -> dict[str, str] | None:
        """Return the fingerprint of what is there; None if nothing usable is."""
        if not self.path.exists():
            return None
        try:
            return json.loads((self.path / _FINGERPRINT).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            shutil.rmtree(self.path)
            return None

    def _is_whole(self, path: Path) -> bool:
        """Return whether a block's file is there and can be read; another is said and made anew."""
        if not path.is_file():
            return False
        try:
            with safe_open(path, "pt") as file:
                return _RECORDS in (file.metadata() or {})
        except SafetensorError:
            log.warn(f"{path}: is damaged; going on from the blocks before it.")
            return False

    def _file(self, index: int) -> Path:
        return self.path / f"block-{index:05d}.safetensors"

    def save(self, index: int, block: DoneBlock) -> None:
        """Write a block; it is there whole or not at all."""
        path = self._file(index)
        temporary = path.with_suffix(".writing")
        tensors = {f"packed:{name}": tensor for name, tensor in block.packed.items()}
        tensors |= {f"changed:{name}": tensor for name, tensor in block.changed.items()}
        tensors = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
        with disk_errors(path):
            save_file(tensors, temporary, {_RECORDS: json.dumps(block.records)})
            descriptor = os.open(temporary, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            os.replace(temporary, path)

    def load(self, index: int) -> DoneBlock:
        """Read a block."""
        path = self._file(index)
        with safe_open(path, "pt") as file:
            records = json.loads(file.metadata()[_RECORDS])
        parts: dict[str, dict[str, torch.Tensor]] = {"packed": {}, "changed": {}}
        for name, tensor in load_file(path).items():
            part, _, full = name.partition(":")
            parts[part][full] = tensor
        return DoneBlock(parts["packed"], parts["changed"], records)

    def remove(self) -> None:
        """Remove the folder: the result is whole."""
        shutil.rmtree(self.path, ignore_errors=True)


def fingerprint_of(value: Any) -> str:
    """Return a hash of something that JSON can hold."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def folder_stamp(folder: Path) -> list[list[Any]]:
    """Return name, size and time of change of a model's weights and configuration."""
    files = sorted([*folder.glob("*.safetensors"), *folder.glob("*config.json")])
    return [[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in files]
