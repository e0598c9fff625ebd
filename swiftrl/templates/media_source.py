"""Where a medium's bytes come from: a path, a data: URI, bytes and, if allowed, an address."""

from __future__ import annotations

import base64
import binascii
import io
from typing import BinaryIO

from swiftrl.core.errors import TemplateError
from swiftrl.templates.fetch import UrlRule, fetch

__all__ = ["opened", "shown_source"]

_MOST_BYTES = 64 << 20


def opened(source: str | bytes | None, noun: str, allow_urls: UrlRule) -> str | BinaryIO:
    """Return a path, or a stream of the medium's bytes.

    Args:
        source: as a row names it.
        noun: "picture", "video" or "audio", for messages.
        allow_urls: which http(s) addresses are fetched.

    Raises:
        TemplateError: there is no source, or it is broken, too large or not allowed.
    """
    if source is None:
        raise TemplateError(f"{noun} without a source: expected a path, a data: URI or bytes.")
    if isinstance(source, bytes):
        return io.BytesIO(source)
    if source[:5].lower() == "data:":
        return io.BytesIO(_from_data_uri(source, noun))
    if source[:7].lower() == "http://" or source[:8].lower() == "https://":
        return io.BytesIO(_fetched(source, noun, allow_urls))
    return source.removeprefix("file://")


def _from_data_uri(uri: str, noun: str) -> bytes:
    head, _, body = uri.partition(",")
    if not head.lower().endswith(";base64"):
        kind = "image" if noun == "picture" else noun
        raise TemplateError(f"{noun} {shown_source(uri)}: expected data:{kind}/...;base64,...")
    try:
        return base64.b64decode(body, validate=True)
    except binascii.Error as error:
        raise TemplateError(f"{noun} {shown_source(uri)}: is not base64 ({error}).") from None


def _fetched(address: str, noun: str, allow_urls: UrlRule) -> bytes:
    name = f"{noun} {shown_source(address)}"
    if not allow_urls:
        raise TemplateError(
            f"{name}: addresses are not fetched unless --allow_media_urls true is given; or store "
            "the file and name its path."
        )
    try:
        data = fetch(address, _MOST_BYTES, rule=allow_urls)
    except (OSError, ValueError) as error:
        raise TemplateError(f"{name}: cannot be fetched ({error}).") from None
    if len(data) > _MOST_BYTES:
        raise TemplateError(f"{name}: more than {_MOST_BYTES >> 20} MiB.")
    return data


def shown_source(source: str | bytes | None) -> str:
    """Return a source as messages name it."""
    if isinstance(source, bytes):
        return f"({len(source):,} bytes in the row)"
    text = source or "(none)"
    return text if len(text) <= 200 else f"{text[:40]}... ({len(text):,} characters)"
