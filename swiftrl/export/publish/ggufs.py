"""What the targets with a GGUF file share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from swiftrl.core import log
from swiftrl.core.config import setting
from swiftrl.core.errors import ConfigError, ModelError
from swiftrl.core.files import write_json, write_text
from swiftrl.export.gguf.modelfile import Prompting, modelfile, prompting_of
from swiftrl.export.gguf.write import GGUF_TYPES, check_source, write_gguf
from swiftrl.export.publish.listing import listing_of
from swiftrl.export.publish.target import Job
from swiftrl.export.publish.weights import read_json

__all__ = ["MODEL", "GgufConfig", "convert", "gguf_problems", "prompting"]

MODEL = "model.gguf"


@dataclass(frozen=True)
class GgufConfig:
    """GGUF."""

    gguf_type: str = setting("bf16", "Type of the matrices in the GGUF file.", choices=GGUF_TYPES)
    ollama_template: str | None = setting(
        None, "File with a Go template of the prompt. Unset: found from the model's own template."
    )
    ollama_system: str | None = setting(None, "System prompt that Ollama gives by itself.")


def prompting(job: Job) -> Prompting:
    """Return how the model is asked."""
    return prompting_of(job.folder, job.settings[GgufConfig].ollama_template)


def gguf_problems(job: Job) -> list[str]:
    """Return why a model cannot be written as GGUF, or asked by Ollama."""
    problems = check_source(job.folder)
    try:
        prompting(job)
    except ModelError as error:
        problems.append(str(error))
    return problems


def convert(job: Job, folder: Path) -> None:
    """Write model.gguf and a Modelfile into a folder, unless they are there of the same weights.

    Raises:
        ConfigError: the folder holds something else.
    """
    config = job.settings[GgufConfig]
    files, _ = listing_of(job.folder, {})
    wanted = {
        "type": config.gguf_type,
        "files": {file.name: file.sha256 for file in files},
    }
    record = folder / ".made.json"
    if folder.is_dir() and any(folder.iterdir()) and not record.is_file():
        raise ConfigError(f"{folder}: is not empty and no GGUF was written there; choose another.")
    if not (folder / MODEL).is_file() or read_json(record) != wanted:
        write_json(record, {})
        write_gguf(job.folder, folder / MODEL, config.gguf_type, job.name)
        write_json(record, wanted)
        log.info(f"Written and read again: {folder / MODEL} ({config.gguf_type})")
    text = modelfile(prompting(job), MODEL, config.ollama_system)
    write_text(folder / "Modelfile", text)
