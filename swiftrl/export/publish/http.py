"""Requests of services that speak JSON: shown in a plan and sent as they were shown."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from swiftrl.core.errors import ExportError
from swiftrl.export.publish.retrying import TransientError, with_retries

__all__ = ["Request", "ServiceError", "send"]

_TIMEOUT_S = 120

Sign = Callable[["Request"], Mapping[str, str]]
"""Returns the headers that prove who asks."""


class ServiceError(ExportError):
    """A service refused.

    Attributes:
        status: of HTTP.
        code: the service's own word for it.
    """

    def __init__(self, message: str, status: int, code: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


@dataclass(frozen=True, slots=True)
class Request:
    """One request.

    Attributes:
        method: GET, POST, DELETE.
        url: with the query; words in braces stand for what earlier answers give.
        body: JSON.
        note: what it does.
    """

    method: str
    url: str
    body: Mapping[str, Any] | None = None
    note: str = ""

    def data(self) -> bytes:
        """Return the body's bytes."""
        return b"" if self.body is None else json.dumps(self.body, ensure_ascii=False).encode()

    def shown(self) -> str:
        """Return it for people."""
        head = f"{self.method} {self.url}" + (f"    # {self.note}" if self.note else "")
        if self.body is None:
            return head
        return head + "\n" + json.dumps(self.body, indent=2, ensure_ascii=False)


@dataclass(frozen=True)
class _Answer:
    status: int
    body: dict[str, Any] = field(default_factory=dict)


def send(
    request: Request, sign: Sign, *, attempts: int, again: bool | None = None
) -> dict[str, Any]:
    """Send a request and return the answer's JSON.

    Args:
        request: it.
        sign: gives the headers.
        attempts: times to try.
        again: whether it may be sent again though it may have worked; unset, unless it is a POST.

    Raises:
        ServiceError: the service refuses.
        ExportError: there is no answer.
    """
    repeatable = request.method != "POST" if again is None else again
    return with_retries(
        f"{request.method} {request.url}",
        lambda: _once(request, sign),
        attempts=attempts if repeatable else 1,
    )


def _once(request: Request, sign: Sign) -> dict[str, Any]:
    body = request.data()
    headers = {"Content-Type": "application/json", "Accept": "application/json", **sign(request)}
    asked = urllib.request.Request(
        request.url, data=body or None, headers=headers, method=request.method
    )
    try:
        with urllib.request.urlopen(asked, timeout=_TIMEOUT_S) as answer:
            return _json(answer.read())
    except urllib.error.HTTPError as error:
        raise _refusal(request, error.code, _json(error.read())) from None
    except (OSError, http.client.HTTPException) as error:
        raise TransientError(f"{type(error).__name__}: {error}.") from error


def _json(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data or b"{}")
    except ValueError:
        return {"message": data[:200].decode(errors="replace")}
    return value if isinstance(value, dict) else {"items": value}


def _refusal(request: Request, status: int, body: Mapping[str, Any]) -> Exception:
    inner = body.get("error")
    inner = inner if isinstance(inner, dict) else body
    code = str(inner.get("code") or inner.get("error_code") or inner.get("Code") or "")
    message = str(inner.get("message") or inner.get("error_msg") or inner.get("Message") or "")
    said = f"{status} {code} {message}".strip().rstrip(".")
    if status >= 500 or status == 429:
        return TransientError(f"{said}.")
    if status in (401, 403):
        said += ". The credentials were refused, or may not do this"
    return ServiceError(f"{request.method} {request.url}: {said}.", status, code)
