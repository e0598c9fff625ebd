"""What an export target is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from swiftrl.core.config import Settings
from swiftrl.core.registry import Registry
from swiftrl.export.publish.config import PublishConfig
from swiftrl.export.publish.http import Request
from swiftrl.export.publish.listing import PublishedFile
from swiftrl.export.publish.state import State

__all__ = ["TARGETS", "Job", "Step", "Target"]


@dataclass(frozen=True)
class Job:
    """What is to be published.

    Attributes:
        folder: the model, or the adapter.
        adapter: whether it is an adapter.
        base: folder of the adapter's base model, if it is known.
        settings: of the command.
        beside: what the state, and converted files, stand beside; None for the folder. A model of
            a hub's cache has nothing written beside it.
        files: that go there, those that are made for the target included.
    """

    folder: Path
    adapter: bool
    base: Path | None
    settings: Settings
    beside: Path | None = None
    files: tuple[PublishedFile, ...] = ()

    @property
    def publish(self) -> PublishConfig:
        """The settings of publishing."""
        return self.settings[PublishConfig]

    @property
    def name(self) -> str:
        """A name for the result: the last part of --destination, or the folder's."""
        last = (self.publish.destination or "").rstrip("/").rpartition("/")[2]
        return last or self.home.name

    @property
    def home(self) -> Path:
        """What the state and converted files stand beside."""
        return (self.beside or self.folder).absolute()


Step = Callable[[Job, State], None]


def _no_files(job: Job) -> Sequence[PublishedFile]:
    return ()


def _no_requests(job: Job) -> Mapping[str, Sequence[Request]]:
    return {}


def _no_problems(job: Job) -> Sequence[str]:
    return ()


def _no_lines(job: Job) -> Sequence[str]:
    return ()


@dataclass(frozen=True)
class Target:
    """A place where models are used.

    Attributes:
        summary: one sentence.
        destination: what --destination looks like.
        settings: groups of its own settings.
        takes: "model", "adapter", or both.
        steps: by the name of the stage; stages that it has not are passed over.
        check: returns what is wrong, seen without the network.
        check_online: raises what is wrong at the target, before anything is sent.
        convert: writes the model in the target's own format and returns the folder that goes there.
        only: names of the folder's files that go there; empty for all.
        made: files that are made for it.
        requests: by stage, those that will be sent.
        cost: what costs money, said before `deploy`.
        manual: what is left to do by hand, printed at the end.
        place: returns where a file goes, for the plan.
    """

    summary: str
    destination: str
    steps: Mapping[str, Step]
    settings: tuple[type, ...] = ()
    takes: frozenset[str] = frozenset({"model"})
    check: Callable[[Job], Sequence[str]] = _no_problems
    check_online: Callable[[Job], None] | None = None
    convert: Callable[[Job], Path] | None = None
    only: Callable[[Job], Sequence[str]] = _no_lines
    made: Callable[[Job], Sequence[PublishedFile]] = _no_files
    requests: Callable[[Job], Mapping[str, Sequence[Request]]] = _no_requests
    cost: str = ""
    manual: Callable[[Job], Sequence[str]] = _no_lines
    place: Callable[[Job], str] = field(default=lambda job: job.publish.destination or "")


TARGETS: Registry[Target] = Registry("export target", "swiftrl.export.publish.targets", "TARGET")
