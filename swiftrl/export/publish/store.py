"""What an object store must do so that files can be sent in parts and checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

from swiftrl.core.errors import ConfigError
from swiftrl.export.publish.listing import PublishedFile

__all__ = ["Found", "ObjectStore", "Place", "place_of"]


@dataclass(frozen=True, slots=True)
class Place:
    """A folder of a bucket.

    Attributes:
        scheme: "s3", "oss" or "obs".
        bucket: its name.
        prefix: ends with a slash, or is empty for the bucket's root.
    """

    scheme: str
    bucket: str
    prefix: str

    def key(self, name: str) -> str:
        """Return the key of a file."""
        return self.prefix + name

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}/{self.prefix}"


def place_of(destination: str | None, scheme: str) -> Place:
    """Return the place that --destination names.

    Raises:
        ConfigError: it names none of this scheme.
    """
    parts = urlsplit(destination or "")
    if parts.scheme != scheme or not parts.netloc or parts.query or parts.fragment:
        raise ConfigError(
            f"--destination {destination or '(unset)'}: expected {scheme}://bucket/folder/."
        )
    path = parts.path.strip("/")
    return Place(scheme, parts.netloc, f"{path}/" if path else "")


@dataclass(frozen=True, slots=True)
class Found:
    """An object that is there.

    Attributes:
        size: bytes.
        etag: as the store gives it, without quotes.
        sha256: what we wrote beside it when it was sent, if we did.
        crc64: of all its bytes, where the store computes it.
    """

    size: int
    etag: str
    sha256: str | None = None
    crc64: str | None = None


class ObjectStore(Protocol):
    """A bucket. Every method may raise TransientError, and ExportError with the reason."""

    def check(self) -> None:
        """Refuse wrong credentials and an absent bucket."""
        ...

    def find(self, key: str) -> Found | None:
        """Return what is there."""
        ...

    def put(self, key: str, file: PublishedFile) -> None:
        """Send a whole file."""
        ...

    def begin(self, key: str, file: PublishedFile) -> str:
        """Begin to send a file in parts; return the upload's id."""
        ...

    def pending(self, key: str) -> list[str]:
        """Return the ids of uploads of this key that were begun and never ended."""
        ...

    def parts(self, key: str, upload: str) -> dict[int, tuple[int, str]] | None:
        """Return number -> (size, MD5) of the parts that are there; None if the upload is gone."""
        ...

    def send(self, key: str, upload: str, number: int, data: bytes) -> str:
        """Send a part; return its MD5 as the store says it."""
        ...

    def finish(self, key: str, upload: str, parts: Sequence[tuple[int, str]]) -> None:
        """Put parts together."""
        ...

    def abandon(self, key: str, upload: str) -> None:
        """Drop parts."""
        ...

    def delete(self, key: str) -> None:
        """Remove an object."""
        ...

    def differs(self, file: PublishedFile, found: Found, parts: Sequence[str]) -> str | None:
        """Say in what an object is not the file; None if it is.

        Args:
            file: as it should be.
            found: what is there.
            parts: MD5 of each part if it was sent in parts, else empty; unknown parts of an
                object that an earlier run sent are not held against it.
        """
        ...
