"""A repository of the Hugging Face hub."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from swiftrl.core import log
from swiftrl.core.config import setting
from swiftrl.core.errors import ConfigError, ExportError
from swiftrl.export.publish.http import Request
from swiftrl.export.publish.listing import PublishedFile
from swiftrl.export.publish.retrying import TransientError, with_retries
from swiftrl.export.publish.state import State
from swiftrl.export.publish.target import Job, Target
from swiftrl.models.config import ModelConfig

_HUB = "https://huggingface.co"


@dataclass(frozen=True)
class HubConfig:
    """Hub."""

    private: bool = setting(
        True, "A repository that is made is private.", aliases=("hub_private_repo",)
    )
    commit_message: str = setting("Upload by swiftrl export", "Message of the commit.")
    hub_endpoint: str | None = setting(None, "URL of the hub, where it is not the public one.")


def _endpoint(job: Job) -> str:
    return (job.settings[HubConfig].hub_endpoint or _HUB).rstrip("/")


def _problems(job: Job) -> list[str]:
    parts = (job.publish.destination or "").split("/")
    if len(parts) != 2 or not all(parts):
        return [f"--destination {job.publish.destination or '(unset)'}: expected owner/name."]
    return []


def _api(job: Job) -> Any:
    from huggingface_hub import HfApi, get_token

    token = job.settings[ModelConfig].hub_token or get_token()
    if not token:
        raise ConfigError(
            "no token of the hub: set HF_TOKEN, give --hub_token, or run `hf auth login`."
        )
    return HfApi(endpoint=_endpoint(job), token=token)


@contextlib.contextmanager
def _named(where: str) -> Iterator[None]:
    """Turn the hub's errors into ours."""
    from huggingface_hub.errors import HfHubHTTPError

    # The library under the hub's client, whichever it is, has one base for all it raises.
    below: type[Exception] = HfHubHTTPError.__mro__[1]
    try:
        yield
    except HfHubHTTPError as error:
        status = error.response.status_code
        if status >= 500 or status == 429:
            raise TransientError(f"{status} {error}") from error
        hint = " The token was refused, or may not write there." if status in (401, 403) else ""
        raise ExportError(f"{where}: {status} {error}.{hint}") from error
    except (below, ConnectionError) as error:
        raise TransientError(f"{type(error).__name__}: {error}.") from error


def _retry(job: Job, what: str, act: Any) -> Any:
    def once() -> Any:
        with _named(what):
            return act()

    return with_retries(what, once, attempts=job.publish.upload_attempts)


def _same(found: Any, file: PublishedFile) -> bool:
    """Return whether the hub's file is ours: by SHA-256, or by git's hash of small ones."""
    import hashlib

    if found.size != file.size:
        return False
    if found.lfs is not None:
        return found.lfs.sha256 == file.sha256
    data = file.read()
    git = hashlib.sha1(f"blob {len(data)}\0".encode() + data, usedforsecurity=False).hexdigest()
    return found.blob_id == git


def _there(job: Job, api: Any) -> set[str]:
    """Return the names of files that the hub has as they are here."""
    ours = {file.name: file for file in job.files}
    repo = job.publish.destination
    found = _retry(job, f"{repo}: looking", lambda: api.get_paths_info(repo, list(ours)))
    return {entry.path for entry in found if _same(entry, ours[entry.path])}


def _upload(job: Job, state: State) -> None:
    """Send large files one by one, then commit all at once; what the hub has is not sent again."""
    from huggingface_hub import CommitOperationAdd

    config, repo = job.settings[HubConfig], job.publish.destination
    api = _api(job)
    _retry(
        job, f"{repo}: making the repository",
        lambda: api.create_repo(repo, private=config.private, exist_ok=True),
    )  # fmt: skip
    there = _there(job, api)
    added = [
        CommitOperationAdd(file.name, str(file.path) if file.path else io.BytesIO(file.content))
        for file in job.files
        if file.name not in there
    ]
    if not added:
        log.info(f"{repo}: all {len(job.files)} files are there.")
        return
    for operation in added:
        name = operation.path_in_repo
        _retry(job, f"{repo}/{name}: sending",
               lambda one=operation: api.preupload_lfs_files(repo, [one]))  # fmt: skip
    _retry(
        job, f"{repo}: committing",
        lambda: api.create_commit(repo, added, commit_message=config.commit_message),
    )  # fmt: skip
    log.info(f"{repo}: {len(added)} files committed; {len(there)} were there before.")


def _verify(job: Job, state: State) -> None:
    there = _there(job, _api(job))
    absent = [file.name for file in job.files if file.name not in there]
    if absent:
        raise ExportError(
            f"{job.publish.destination}: {absent[0]} is absent or differs. Give --stage upload."
        )
    log.info(f"{job.publish.destination}: all {len(there)} files are there, by hash.")


def _cleanup(job: Job, state: State) -> None:
    from huggingface_hub import CommitOperationDelete

    api, repo = _api(job), job.publish.destination
    names = sorted(_there(job, api))
    if names:
        removed = [CommitOperationDelete(name) for name in names]
        _retry(job, f"{repo}: removing", lambda: api.create_commit(
            repo, removed, commit_message="Files removed by swiftrl export"))  # fmt: skip
    log.info(f"{repo}: {len(names)} files removed; the repository stays.")


def _requests(job: Job) -> dict[str, list[Request]]:
    endpoint, repo = _endpoint(job), job.publish.destination or ""
    owner, _, name = repo.partition("/")
    visibility = "private" if job.settings[HubConfig].private else "public"
    body = {"name": name, "organization": owner, "visibility": visibility}
    return {
        "upload": [
            Request("POST", f"{endpoint}/api/repos/create", body),
            Request("POST", f"{endpoint}/api/models/{repo}/preupload/main"),
            Request("POST", f"{endpoint}/{repo}.git/info/lfs/objects/batch"),
            Request("POST", f"{endpoint}/api/models/{repo}/commit/main"),
        ],
        "verify": [Request("POST", f"{endpoint}/api/models/{repo}/paths-info/main")],
    }


TARGET = Target(
    summary="A repository of the Hugging Face hub.",
    destination="owner/name",
    settings=(HubConfig,),
    takes=frozenset({"model", "adapter"}),
    check=_problems,
    requests=_requests,
    steps={"upload": _upload, "verify": _verify, "cleanup": _cleanup},
)
