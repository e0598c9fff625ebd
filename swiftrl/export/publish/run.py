"""The stages of publishing, in order: plan, upload, register, deploy, verify, cleanup."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence

from swiftrl.core import log
from swiftrl.core.errors import ConfigError
from swiftrl.export.publish.config import STAGES
from swiftrl.export.publish.listing import listing_of
from swiftrl.export.publish.state import State, state_file
from swiftrl.export.publish.target import Job, Target
from swiftrl.export.publish.weights import check_folder

__all__ = ["publish"]

_REMEMBERED = ("upload", "register", "deploy")
"""Stages that are not repeated for the same files."""


def publish(name: str, target: Target, job: Job) -> None:
    """Bring a folder to a target.

    Args:
        name: of the target.
        target: it.
        job: what is to be published; its files are found here.

    Raises:
        SwiftRLError: a rule of the target is not kept (seen before anything is sent), or the
            target refuses.
    """
    stages = _stages(job, target)
    check_folder(job.folder, adapter=job.adapter)
    # The state is read also where nothing is sent: hashes of unchanged files stand in it.
    state = State(state_file(job.home, name), f"{name} {target.place(job)}")
    files, stamps = listing_of(job.folder, state.section("hashes"), target.only(job))
    job = dataclasses.replace(job, files=tuple(files))
    _refuse(name, target.check(job))
    if target.convert is not None:
        files, stamps = listing_of(target.convert(job), state.section("hashes"))
    job = dataclasses.replace(job, files=(*files, *target.made(job)))
    _show(name, target, job, stages)
    if stages == ["plan"]:
        return
    if not target.steps:
        for line in target.manual(job):
            log.info(line)
        return
    state.put("hashes", **stamps)
    state.take_up(_content(job), _REMEMBERED)
    if target.check_online is not None and "upload" in stages and not state.section("upload"):
        target.check_online(job)
    for stage in stages:
        _run(stage, target, job, state)
    for line in target.manual(job):
        log.info(line)


def _stages(job: Job, target: Target) -> list[str]:
    config = job.publish
    if config.dry_run:
        return ["plan"]
    given = config.stage
    if not given:
        given = ["plan", "upload", "register", *(["deploy"] if config.yes else []), "verify"]
    if "cleanup" in given and not config.yes:
        raise ConfigError("--stage cleanup deletes what was published: give --yes true as well.")
    if "deploy" in given and not config.yes:
        raise ConfigError(f"--stage deploy costs money ({target.cost or 'see the vendor'}): give "
                          "--yes true as well.")  # fmt: skip
    absent = [stage for stage in config.stage if stage not in ("plan", *target.steps)]
    if absent:
        raise ConfigError(
            f"--stage {absent[0]}: --to {config.to} has no such step; it has: plan, "
            f"{', '.join(target.steps)}."
        )
    return [stage for stage in STAGES if stage in given]


def _refuse(name: str, problems: Sequence[str]) -> None:
    """Name all that is wrong at once."""
    if problems:
        listed = "".join(f"\n  - {problem}" for problem in problems)
        raise ConfigError(f"--to {name}: nothing was sent:{listed}")


def _content(job: Job) -> str:
    lines = sorted(f"{file.sha256} {file.name}" for file in job.files)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _show(name: str, target: Target, job: Job, stages: Sequence[str]) -> None:
    """Say what will be done; all of it in a plan."""
    total = sum(file.size for file in job.files)
    log.info(
        f"swiftrl export --to {name}: {len(job.files)} files, {total / 2**20:.1f} MiB, from "
        f"{job.folder} to {target.place(job)}"
    )
    if "plan" not in stages:
        return
    if stages != ["plan"]:
        steps = [stage for stage in stages if stage in target.steps]
        log.info(f"  steps: {', '.join(steps) or 'none beyond writing the files'}")
        return
    log.table(
        "Files",
        ("Name", "Bytes", "SHA-256"),
        [(file.name, str(file.size), file.sha256) for file in job.files],
    )
    for file in job.files:
        if file.path is None:
            log.info(f"\n{file.name}, made for {name}:\n{file.content.decode()}")
    for stage, requests in target.requests(job).items():
        for request in requests:
            log.info(f"\n{stage}: {request.shown()}")
    if target.cost:
        log.info(f"\nCost: {target.cost}")
    for line in target.manual(job):
        log.info(line)
    log.info("\nNothing was sent.")


def _run(stage: str, target: Target, job: Job, state: State) -> None:
    step = target.steps.get(stage)
    if step is None:
        return
    asked = stage in job.publish.stage  # by name: then it is done again, which changes nothing
    if stage in _REMEMBERED and not asked and state.section(stage).get("done"):
        log.info(f"{stage}: done before.")
        return
    if stage == "deploy" and target.cost:
        log.info(f"deploy: {target.cost}")
    step(job, state)
    if stage in _REMEMBERED:
        state.put(stage, done=True)
    if stage == "cleanup":
        state.remove()
