"""A GGUF file with a Modelfile."""

from __future__ import annotations

from pathlib import Path

from swiftrl.export.publish.ggufs import GgufConfig, convert, gguf_problems
from swiftrl.export.publish.target import Job, Target


def _folder(job: Job) -> Path:
    return Path(job.publish.destination or "")


def _problems(job: Job) -> list[str]:
    absent = [] if job.publish.destination else ["--destination is missing: a folder."]
    return [*absent, *gguf_problems(job)]


def _convert(job: Job) -> Path:
    convert(job, _folder(job))
    return _folder(job)


TARGET = Target(
    summary="A folder with a GGUF file for llama.cpp and a Modelfile for Ollama.",
    destination="folder",
    settings=(GgufConfig,),
    check=_problems,
    convert=_convert,
    steps={},
    manual=lambda job: [f"Next: ollama create {job.name} -f {_folder(job) / 'Modelfile'}"],
)
