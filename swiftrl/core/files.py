"""Files that are either whole or absent."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from swiftrl.core.errors import ConfigError, MachineError

__all__ = ["atomic_directory", "check_writable", "disk_errors", "write_json", "write_text"]


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn the operating system's refusals while writing `path` into one clear error.

    Raises:
        MachineError: no space, or a failing disk.
        ConfigError: no permission, a read-only file system, or a folder that cannot be made.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            free_mib = shutil.disk_usage(_existing_parent(path)).free / 2**20
            raise MachineError(
                f"{path}: no space left on the device ({free_mib:.0f} MiB free). Free some space "
                "or choose another --output_dir; what was written before is intact."
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT):
            raise ConfigError(
                f"{path}: cannot be written ({error.strerror}). Choose a folder you may write to."
            ) from error
        if error.errno in (errno.ENOTDIR, errno.EEXIST):
            raise ConfigError(f"{path}: a file stands where a folder is needed.") from error
        raise MachineError(f"{path}: writing failed: {error}.") from error


def _existing_parent(path: Path) -> Path:
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return path


def check_writable(path: Path) -> None:
    """Try whether `path` could be made beside what is there, and leave nothing behind.

    Raises:
        ConfigError: no permission, a read-only file system, or a file where a folder is needed.
        MachineError: the disk refuses otherwise.
    """
    with disk_errors(path):
        # Tried, not asked for: a superuser may do what a file system does not do.
        os.rmdir(tempfile.mkdtemp(dir=_existing_parent(path.absolute().parent), prefix=".swiftrl-"))


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` in UTF-8 so that readers see the old file or the whole new one."""
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
            raise


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


@contextlib.contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """Yield a temporary folder that becomes `path` when the block ends without an error.

    An existing `path` is replaced. After an error, or a kill, `path` is as it was before; what a
    kill leaves behind is a hidden sibling named `.NAME.tmp-*`, removed by the next call.
    """
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        for stale in path.parent.glob(f".{path.name}.tmp-*"):
            shutil.rmtree(stale, ignore_errors=True)
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.tmp-"))
        try:
            with disk_errors(path):  # before the temporary files go: they are what filled the disk
                yield temporary
            _settle_tree(temporary)
            os.chmod(temporary, 0o755)
            if path.exists():
                old = temporary.with_name(temporary.name + "-old")
                os.replace(path, old)
                os.replace(temporary, path)
                shutil.rmtree(old, ignore_errors=True)
            else:
                os.replace(temporary, path)
            _sync(path.parent)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise


def _settle_tree(folder: Path) -> None:
    """Write a tree to the disk; others may read it, as with files that are written plainly."""
    for item in folder.rglob("*"):
        if item.is_file():
            os.chmod(item, 0o644)  # safetensors makes files that the owner alone reads
            _sync(item)
    _sync(folder)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
