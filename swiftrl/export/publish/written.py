"""What targets share that write files to run a model with, and send nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from swiftrl.core import log
from swiftrl.core.files import write_text
from swiftrl.export.publish.state import State
from swiftrl.export.publish.target import Job, Step

__all__ = ["label", "out_problems", "text_of", "writing"]

Texts = Callable[[Job], Mapping[str, str]]
"""Returns name -> text of the files."""


def text_of(*documents: Mapping[str, Any]) -> str:
    """Return YAML documents as one file."""
    return "---\n".join(
        yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=1000)
        for document in documents
    )


def label(name: str) -> str:
    """Return a name as Kubernetes takes it: lowercase, digits and dashes, at most 63."""
    return re.sub(r"[^a-z0-9-]+", "-", name.lower()).strip("-")[:63].strip("-") or "model"


def out_problems(job: Job) -> list[str]:
    """Return what is wrong with the folder that the files go to."""
    folder = Path(job.publish.destination or "")
    if not job.publish.destination or folder.is_file():
        return [f"--destination {job.publish.destination or '(unset)'}: expected a folder for the "
                "files."]  # fmt: skip
    if folder.absolute() == job.folder.absolute():
        return ["--destination: is the model's own folder; choose another."]
    return []


def writing(texts: Texts) -> Mapping[str, Step]:
    """Return the step that writes the files of a target."""

    def upload(job: Job, state: State) -> None:
        folder = Path(job.publish.destination or "")
        for name, text in texts(job).items():
            write_text(folder / name, text)
            if name.endswith(".sh"):
                (folder / name).chmod(0o755)
            log.info(f"Written: {folder / name}")

    return {"upload": upload}
