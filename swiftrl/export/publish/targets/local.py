"""A folder of this machine, or of a disk that is mounted on it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from swiftrl.core import log
from swiftrl.core.errors import ConfigError, ExportError
from swiftrl.core.files import disk_errors
from swiftrl.export.publish.listing import PublishedFile, digest
from swiftrl.export.publish.state import State
from swiftrl.export.publish.target import Job, Target


def _folder(job: Job) -> Path:
    return Path(job.publish.destination or "")


def _problems(job: Job) -> list[str]:
    if not job.publish.destination:
        return ["--destination is missing: the folder that the model is copied to."]
    if _folder(job).absolute() == job.folder.absolute():
        return [f"--destination {job.publish.destination}: is the model's own folder."]
    return []


def _upload(job: Job, state: State) -> None:
    """Copy files that are not there; each is whole or absent."""
    folder = _folder(job)
    progress = log.Progress("files copied", len(job.files))
    with disk_errors(folder):
        for number, file in enumerate(job.files, start=1):
            path = folder / file.name
            if not _same(path, file):
                path.parent.mkdir(parents=True, exist_ok=True)
                _copy(file, path)
            progress.update(number)
    progress.close()


def _copy(file: PublishedFile, path: Path) -> None:
    temporary = path.with_name(f".{path.name}.writing")
    if file.path is None:
        temporary.write_bytes(file.content)
    else:
        shutil.copyfile(file.path, temporary)
    descriptor = os.open(temporary, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.replace(temporary, path)


def _same(path: Path, file: PublishedFile) -> bool:
    return path.is_file() and path.stat().st_size == file.size and digest(path) == file.sha256


def _verify(job: Job, state: State) -> None:
    for file in job.files:
        if not _same(_folder(job) / file.name, file):
            raise ExportError(
                f"{_folder(job) / file.name}: is absent or not what was copied. Give --stage "
                "upload."
            )
    log.info(f"{_folder(job)}: all {len(job.files)} files are there, by SHA-256.")


def _cleanup(job: Job, state: State) -> None:
    folder = _folder(job)
    if not folder.is_dir():
        raise ConfigError(f"--destination {folder}: is no folder.")
    for file in job.files:
        (folder / file.name).unlink(missing_ok=True)
    log.info(f"{folder}: {len(job.files)} files removed.")


TARGET = Target(
    summary="A folder of this machine or of a mounted disk; without --destination only what "
    "--merge_lora and --quant_method write.",
    destination="folder",
    takes=frozenset({"model", "adapter"}),
    check=_problems,
    steps={"upload": _upload, "verify": _verify, "cleanup": _cleanup},
)
