"""A model of an Ollama server, by its HTTP interface."""

from __future__ import annotations

import http.client
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from swiftrl.core import log
from swiftrl.core.errors import ExportError
from swiftrl.export.publish.config import ApiConfig
from swiftrl.export.publish.ggufs import MODEL, GgufConfig, convert, gguf_problems, prompting
from swiftrl.export.publish.http import Request, ServiceError, send
from swiftrl.export.publish.listing import PublishedFile
from swiftrl.export.publish.retrying import TransientError, with_retries
from swiftrl.export.publish.state import State
from swiftrl.export.publish.target import Job, Target

_HERE = "http://127.0.0.1:11434"
_CHUNK = 2**20


def _url(job: Job) -> str:
    return (job.settings[ApiConfig].api_endpoint or _HERE).rstrip("/")


def _unsigned(request: Request) -> Mapping[str, str]:
    return {}


def _ask(job: Job, request: Request, *, again: bool | None = None) -> dict[str, Any]:
    return send(request, _unsigned, attempts=job.publish.upload_attempts, again=again)


def _problems(job: Job) -> list[str]:
    name = job.publish.destination or ""
    absent = [] if name else ["--destination is missing: the model's name, e.g. mine:latest."]
    return [*absent, *gguf_problems(job)]


def _convert(job: Job) -> Path:
    folder = job.home.with_name(f"{job.home.name}-gguf")
    convert(job, folder)
    return folder


def _gguf(job: Job) -> PublishedFile:
    return next(file for file in job.files if file.name == MODEL)


def _requests(job: Job) -> dict[str, list[Request]]:
    """Return what is sent; the file itself goes as the body of POST /api/blobs."""
    digest = f"sha256:{_gguf(job).sha256}"
    asked = prompting(job)
    config = job.settings[GgufConfig]
    body: dict[str, Any] = {
        "model": job.publish.destination,
        "files": {MODEL: digest},
        "template": asked.template,
        "stream": False,
    }
    if asked.stops:
        body["parameters"] = {"stop": list(asked.stops)}
    if config.ollama_system:
        body["system"] = config.ollama_system
    question = {
        "model": job.publish.destination,
        "messages": [{"role": "user", "content": "1+1="}],
        "stream": False,
        "options": {"num_predict": 8, "temperature": 0},
    }
    url = _url(job)
    return {
        "upload": [Request("POST", f"{url}/api/blobs/{digest}", note=f"the bytes of {MODEL}")],
        "register": [Request("POST", f"{url}/api/create", body)],
        "verify": [Request("POST", f"{url}/api/chat", question)],
        "cleanup": [Request("DELETE", f"{url}/api/delete", {"model": job.publish.destination})],
    }


def _upload(job: Job, state: State) -> None:
    file = _gguf(job)
    url = _requests(job)["upload"][0].url

    def there() -> bool | None:
        try:
            send(Request("HEAD", url), _unsigned, attempts=1)
        except ServiceError as error:
            if error.status == 404:
                return None
            raise
        except ExportError as error:
            raise TransientError(str(error)) from error
        return True

    attempts = job.publish.upload_attempts
    if with_retries(f"HEAD {url}", there, attempts=attempts):
        log.info(f"{MODEL}: is there.")
        return
    with_retries(f"POST {url}", lambda: _send_file(url, file), attempts=attempts, settled=there)
    log.info(f"{MODEL}: {file.size / 2**20:.1f} MiB sent to {_url(job)}.")


def _send_file(url: str, file: PublishedFile) -> bool:
    """Send a file as a body of known length."""
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.netloc, timeout=600)

    def chunks() -> Iterator[bytes]:
        for offset in range(0, file.size, _CHUNK):
            yield file.read(offset, _CHUNK)

    try:
        headers = {"Content-Length": str(file.size), "Content-Type": "application/octet-stream"}
        connection.request("POST", parts.path, body=chunks(), headers=headers)
        answer = connection.getresponse()
        said = answer.read().decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        raise TransientError(f"{type(error).__name__}: {error}.") from error
    finally:
        connection.close()
    if answer.status >= 500:
        raise TransientError(f"{answer.status} {said}")
    if answer.status >= 400:
        raise ExportError(f"POST {url}: {answer.status} {said}")
    return True


def _register(job: Job, state: State) -> None:
    # Creating is the same however often it is done.
    _ask(job, _requests(job)["register"][0], again=True)
    log.info(f"Ollama at {_url(job)} has the model {job.publish.destination}.")


def _verify(job: Job, state: State) -> None:
    answer = _ask(job, _requests(job)["verify"][0], again=True)
    said = answer.get("message", {}).get("content")
    if not isinstance(said, str):
        raise ExportError(f"{_url(job)}: the model gives no reply: {answer}")
    log.info(f"Asked 1+1=, it answers {said!r}.")


def _cleanup(job: Job, state: State) -> None:
    _ask(job, _requests(job)["cleanup"][0])
    log.info(f"{job.publish.destination}: removed from {_url(job)}.")


TARGET = Target(
    summary="A model of an Ollama server: a GGUF file is written and registered there.",
    destination="name or name:tag",
    settings=(GgufConfig, ApiConfig),
    check=_problems,
    convert=_convert,
    requests=_requests,
    steps={"upload": _upload, "register": _register, "verify": _verify, "cleanup": _cleanup},
)
