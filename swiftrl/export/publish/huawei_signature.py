"""Huawei Cloud's signature of requests, SDK-HMAC-SHA256, as its API documentation has it."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from swiftrl.export.publish.http import Request
from swiftrl.export.publish.secret import AccessKey

__all__ = ["signed_headers", "signer"]

_ALGORITHM = "SDK-HMAC-SHA256"


def signed_headers(
    method: str, url: str, headers: Mapping[str, str], body: bytes, key: AccessKey, date: str
) -> dict[str, str]:
    """Return the headers of a signed request.

    Args:
        method: of HTTP.
        url: with the query.
        headers: to be signed beside host and date.
        body: of the request.
        key: access key.
        date: time in UTC, as 20260101T120000Z.
    """
    parts = urlsplit(url)
    signed = {name.lower(): value.strip() for name, value in headers.items()}
    signed |= {"host": parts.netloc, "x-sdk-date": date}
    names = sorted(signed)
    path = "/".join(quote(unquote(part), safe="~") for part in parts.path.split("/"))
    query = sorted(parse_qsl(parts.query, keep_blank_values=True))
    canonical = "\n".join(
        [
            method.upper(),
            path if path.endswith("/") else f"{path}/",
            "&".join(f"{quote(name, safe='~')}={quote(value, safe='~')}" for name, value in query),
            "".join(f"{name}:{signed[name]}\n" for name in names),
            ";".join(names),
            hashlib.sha256(body).hexdigest(),
        ]
    )
    text = f"{_ALGORITHM}\n{date}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    signature = hmac.new(key.secret.reveal().encode(), text.encode(), hashlib.sha256).hexdigest()
    proof = (
        f"{_ALGORITHM} Access={key.id.reveal()}, SignedHeaders={';'.join(names)}, "
        f"Signature={signature}"
    )
    return {**headers, "X-Sdk-Date": date, "Authorization": proof}


def signer(key: AccessKey, more: Mapping[str, str]) -> Callable[[Request], Mapping[str, str]]:
    """Return what signs requests.

    Args:
        key: access key.
        more: headers that every request has beside its own.
    """

    def sign(request: Request) -> Mapping[str, str]:
        date = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        headers = {"Content-Type": "application/json", **more}
        if key.token:
            headers["X-Security-Token"] = key.token.reveal()
        return signed_headers(request.method, request.url, headers, request.data(), key, date)

    return sign
