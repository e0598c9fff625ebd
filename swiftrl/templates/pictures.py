"""Pictures from wherever a row names them: paths, data: URIs, bytes and, if allowed, addresses."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from swiftrl.core.errors import TemplateError
from swiftrl.templates.fetch import UrlRule
from swiftrl.templates.media_source import opened, shown_source

__all__ = ["MOST_PIXELS", "open_picture", "picture_size"]

MOST_PIXELS = 89_478_485
"""Pixels of the largest picture that is decoded: 256 MiB in RGB, where Pillow begins to warn."""


def open_picture(
    source: str | bytes | None, *, max_pixels: int | None = None, allow_urls: UrlRule = False
) -> Any:
    """Return the picture as PIL's RGB image.

    Args:
        source: a path, a data: URI, bytes of a file, or an http(s) address.
        max_pixels: larger pictures are scaled down to so many, their shape kept.
        allow_urls: which addresses are fetched.

    Raises:
        TemplateError: it is absent, broken, too large or not allowed; the message names it.
    """
    from PIL import ImageOps

    def decoded(image: Any) -> Any:
        image.draft("RGB", scaled_size(image.size, max_pixels))
        # Cameras write how they were held beside the pixels.
        return ImageOps.exif_transpose(image).convert("RGB")

    picture = _read(source, allow_urls, decoded)
    size = scaled_size(picture.size, max_pixels)
    return picture if size == picture.size else picture.resize(size, 3)


def picture_size(
    source: str | bytes | None, *, max_pixels: int | None = None, allow_urls: UrlRule = False
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


def _read(source: str | bytes | None, allow_urls: UrlRule, use: Callable[[Any], Any]) -> Any:
    from PIL import Image, UnidentifiedImageError

    name = shown_source(source)
    try:
        with Image.open(opened(source, "picture", allow_urls)) as image:
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
