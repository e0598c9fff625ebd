"""The files that are published, known by their content."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swiftrl.core.errors import ConfigError

__all__ = ["PublishedFile", "digest", "listing_of", "made_file"]

_CHUNK = 4 * 2**20

_KEPT_OUT = ("optimizer", "scheduler", "rng_state", "trainer_state", "rejects")
"""Beginnings of names of a run's own files."""

_KEPT_OUT_NAMES = ("args.json", "manifest.json", "training_args.bin")


@dataclass(frozen=True, slots=True)
class PublishedFile:
    """A file as it is published.

    Attributes:
        name: where it stands under the destination, with slashes.
        size: bytes.
        sha256: of its content, in hexadecimal.
        path: where it is read from; None if `content` is it.
        content: its bytes, if it was made for the target.
    """

    name: str
    size: int
    sha256: str
    path: Path | None = None
    content: bytes = b""

    def read(self, offset: int = 0, size: int | None = None) -> bytes:
        """Return some of its bytes; all from `offset` on without a size."""
        if self.path is None:
            return self.content[offset:][:size]
        with self.path.open("rb") as file:
            file.seek(offset)
            return file.read() if size is None else file.read(size)


def made_file(name: str, text: str) -> PublishedFile:
    """Return a file that is made for the target."""
    content = text.encode()
    return PublishedFile(name, len(content), hashlib.sha256(content).hexdigest(), None, content)


def listing_of(
    folder: Path, known: Mapping[str, Sequence[Any]], only: Sequence[str] = ()
) -> tuple[list[PublishedFile], dict[str, list[Any]]]:
    """Return the files of a model folder, and what is to be remembered of their hashes.

    Files of a training run (optimizer, random state, settings) and hidden ones stay out.

    Args:
        folder: the model or adapter.
        known: name -> [size, time of change, SHA-256] of an earlier look; unchanged files are
            not read again.
        only: names to list; empty for all.

    Raises:
        ConfigError: a wanted file is absent, or there are none.
    """
    absent = [name for name in only if not (folder / name).is_file()]
    if absent:
        raise ConfigError(f"{folder}: holds no {absent[0]}.")
    paths = [folder / name for name in only] or [
        path for path in sorted(folder.rglob("*")) if path.is_file() and _wanted(path, folder)
    ]
    if not paths:
        raise ConfigError(f"{folder}: holds no files to publish.")
    files: list[PublishedFile] = []
    stamps: dict[str, list[Any]] = {}
    for path in paths:
        name = path.relative_to(folder).as_posix()
        stat = path.stat()
        stamp = [stat.st_size, stat.st_mtime_ns]
        seen = list(known.get(name, ()))
        sha256 = seen[2] if seen[:2] == stamp else digest(path)
        stamps[name] = [*stamp, sha256]
        files.append(PublishedFile(name, stat.st_size, sha256, path))
    return files, stamps


def digest(path: Path) -> str:
    """Return a file's SHA-256."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            found.update(chunk)
    return found.hexdigest()


def _wanted(path: Path, folder: Path) -> bool:
    parts = path.relative_to(folder).parts
    if any(part.startswith(".") or part == "__pycache__" for part in parts):
        return False
    name = path.name
    return not name.startswith(_KEPT_OUT) and name not in _KEPT_OUT_NAMES
