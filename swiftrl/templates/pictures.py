"""Pictures from wherever a row names them: paths, data: URIs, bytes and, if allowed, addresses."""

from __future__ import annotations

import base64
import binascii
import io
import math
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

from swiftrl.core.errors import TemplateError

__all__ = ["MOST_PIXELS", "open_picture", "picture_size"]

MOST_PIXELS = 89_478_485
"""Pixels of the largest picture that is decoded: 256 MiB in RGB, where Pillow begins to warn."""

_FETCH_SECONDS = 30
_MOST_BYTES = 64 << 20


def open_picture(
    source: str | bytes | None, *, max_pixels: int | None = None, allow_urls: bool = False
) -> Any:
    """Return the picture as PIL's RGB image.

    Args:
        source: a path, a data: URI, bytes of a file, or an http(s) address.
        max_pixels: larger pictures are scaled down to so many, their shape kept.
        allow_urls: whether addresses are fetched.

    Raises:
        TemplateError: it is absent, broken, too large or not allowed; the message names it.
    """

    def decoded(image: Any) -> Any:
        image.draft("RGB", scaled_size(image.size, max_pixels))
        return image.convert("RGB")

    picture = _read(source, allow_urls, decoded)
    size = scaled_size(picture.size, max_pixels)
    return picture if size == picture.size else picture.resize(size, 3)


def picture_size(
    source: str | bytes | None, *, max_pixels: int | None = None, allow_urls: bool = False
) -> tuple[int, int]:
    """Return (width, height) of what `open_picture` returns; the file is read as a whole."""
    return open_picture(source, max_pixels=max_pixels, allow_urls=allow_urls).size


def scaled_size(size: tuple[int, int], max_pixels: int | None) -> tuple[int, int]:
    """Return (width, height) within `max_pixels`, in the same proportion."""
    width, height = size
    if max_pixels is None or width * height <= max_pixels:
        return size
    factor = math.sqrt(max_pixels / (width * height))
    return max(1, int(width * factor)), max(1, int(height * factor))


def _read(source: str | bytes | None, allow_urls: bool, use: Callable[[Any], Any]) -> Any:
    from PIL import Image, UnidentifiedImageError

    name = _shown(source)
    try:
        with Image.open(_opened(source, allow_urls)) as image:
            width, height = image.size
            if width * height > MOST_PIXELS:
                raise TemplateError(_too_large(name, f" of {width} x {height} pixels"))
            return use(image)
    except UnidentifiedImageError:
        raise TemplateError(
            f"picture {name}: not a picture that can be read (expected PNG, JPEG, WebP, GIF, BMP "
            "or TIFF). Replace the file or remove the row."
        ) from None
    except Image.DecompressionBombError:
        raise TemplateError(_too_large(name, "")) from None
    except FileNotFoundError:
        raise TemplateError(f"picture {name}: there is no such file.") from None
    except (OSError, ValueError, SyntaxError) as error:
        raise TemplateError(
            f"picture {name}: broken or cut short ({error}). Replace the file or remove the row."
        ) from None


def _too_large(name: str, size: str) -> str:
    return (
        f"picture {name}{size} is too large: {MOST_PIXELS:,} pixels at most are decoded. Scale the "
        "file down."
    )


def _opened(source: str | bytes | None, allow_urls: bool) -> Any:
    if source is None:
        raise TemplateError("a picture has no source: expected a path, a data: URI or bytes.")
    if isinstance(source, bytes):
        return io.BytesIO(source)
    if source[:5].lower() == "data:":
        return io.BytesIO(_from_data_uri(source))
    if source[:7].lower() == "http://" or source[:8].lower() == "https://":
        return io.BytesIO(_fetched(source, allow_urls))
    return source.removeprefix("file://")


def _from_data_uri(uri: str) -> bytes:
    head, _, body = uri.partition(",")
    if not head.lower().endswith(";base64"):
        raise TemplateError(f"picture {_shown(uri)}: expected data:image/...;base64,...")
    try:
        return base64.b64decode(body, validate=True)
    except binascii.Error as error:
        raise TemplateError(f"picture {_shown(uri)}: is not base64 ({error}).") from None


def _fetched(address: str, allow_urls: bool) -> bytes:
    if not allow_urls:
        raise TemplateError(
            f"picture {_shown(address)}: addresses are not fetched unless --allow_media_urls true "
            "is given; or store the file and name its path."
        )
    try:
        with urllib.request.urlopen(address, timeout=_FETCH_SECONDS) as answer:
            data = answer.read(_MOST_BYTES + 1)
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise TemplateError(f"picture {_shown(address)}: cannot be fetched ({error}).") from None
    if len(data) > _MOST_BYTES:
        raise TemplateError(f"picture {_shown(address)}: more than {_MOST_BYTES >> 20} MiB.")
    return data


def _shown(source: str | bytes | None) -> str:
    if isinstance(source, bytes):
        return f"({len(source):,} bytes in the row)"
    text = source or "(none)"
    return text if len(text) <= 200 else f"{text[:40]}... ({len(text):,} characters)"
