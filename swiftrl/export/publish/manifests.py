"""The targets that write files alone, made alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from swiftrl.backends.serving import SERVING, Serving
from swiftrl.core.config import setting
from swiftrl.export.publish.config import ServeConfig
from swiftrl.export.publish.listing import PublishedFile, made_file
from swiftrl.export.publish.target import Job, Target
from swiftrl.export.publish.written import out_problems, writing

__all__ = ["ManifestConfig", "manifest_target", "model_uri", "serving_of"]


@dataclass(frozen=True)
class ManifestConfig:
    """Files to run a model with."""

    hardware: str = setting(next(iter(SERVING)), "Devices of the servers.", choices=tuple(SERVING))
    model_uri: str | None = setting(
        None,
        "Where the servers find the model: a path, or s3://, hf:// or pvc:// where the target "
        "fetches by itself. Unset: the model's folder.",
    )
    nodes: int = setting(1, "Machines of one replica.")
    serve_port: int = setting(8000, "Port of the server.")


def model_uri(job: Job) -> str:
    """Return where servers find the model."""
    return job.settings[ManifestConfig].model_uri or str(job.folder.absolute())


def serving_of(job: Job) -> Serving:
    """Return what servers get on the hardware asked for."""
    return SERVING[job.settings[ManifestConfig].hardware]


def _no_more(job: Job) -> Sequence[str]:
    return ()


def manifest_target(
    summary: str,
    texts: Callable[[Job], Mapping[str, str]],
    next_step: str,
    problems: Callable[[Job], Sequence[str]] = _no_more,
) -> Target:
    """Return a target that writes files.

    Args:
        summary: one sentence.
        texts: returns name -> text of its files.
        next_step: what to do with them; {folder} stands for where they are.
        problems: returns what is wrong, beside the folder.
    """

    def made(job: Job) -> list[PublishedFile]:
        return [made_file(name, text) for name, text in texts(job).items()]

    return Target(
        summary=summary,
        destination="folder",
        settings=(ServeConfig, ManifestConfig),
        check=lambda job: [*out_problems(job), *problems(job)],
        made=made,
        steps=writing(texts),
        manual=lambda job: [f"Next: {next_step.format(folder=job.publish.destination)}"],
    )
