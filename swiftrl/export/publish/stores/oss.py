"""Alibaba Cloud OSS, by its own SDK (signature V4, CRC64)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from swiftrl.core.compat import require
from swiftrl.core.errors import ConfigError, ExportError
from swiftrl.export.publish.listing import PublishedFile
from swiftrl.export.publish.multipart import md5_base64
from swiftrl.export.publish.retrying import TransientError
from swiftrl.export.publish.secret import AccessKey
from swiftrl.export.publish.store import Found, Place

__all__ = ["OssStore", "oss_store"]

_CHUNK = 4 * 2**20

_REFUSED = {
    "InvalidAccessKeyId": "the access key is unknown",
    "SignatureDoesNotMatch": "the secret key does not fit the access key",
    "SecurityTokenExpired": "the session token has expired",
    "AccessDenied": "the keys may not do this, or the bucket is in another region",
    "NoSuchBucket": "there is no such bucket; make it first",
}

_GONE = ("NoSuchKey", "NoSuchUpload")


def oss_store(
    place: Place, *, region: str | None, endpoint: str | None, key: AccessKey
) -> OssStore:
    """Return the store that holds a place.

    Args:
        place: bucket and folder.
        region: of the bucket, e.g. cn-beijing; the signature holds it.
        endpoint: URL; None for oss-REGION.aliyuncs.com. One with a port is asked by paths.
        key: credentials.

    Raises:
        ConfigError: the SDK is absent, or no region is given.
    """
    oss: Any = require("alibabacloud_oss_v2", extra="alibaba", purpose=f"--destination {place}")
    if not region:
        raise ConfigError(f"--destination {place}: give the bucket's --region, e.g. cn-beijing.")
    provider = oss.credentials.StaticCredentialsProvider(
        key.id.reveal(), key.secret.reveal(), key.token.reveal() if key.token else None
    )
    config = oss.config.load_default()
    config.credentials_provider = provider
    config.region = region.removeprefix("oss-")
    config.retry_max_attempts = 1
    config.readwrite_timeout = 120
    if endpoint:
        config.endpoint = endpoint
        # A name that is no domain of OSS cannot have the bucket in front of it.
        config.use_path_style = ".aliyuncs.com" not in endpoint
    return OssStore(oss, oss.Client(config), place)


class OssStore:
    """A bucket of OSS.

    Args:
        oss: the SDK.
        client: its client.
        place: bucket and folder.
    """

    def __init__(self, oss: Any, client: Any, place: Place) -> None:
        self.oss = oss
        self.client = client
        self.bucket = place.bucket
        self.place = place

    def check(self) -> None:
        """Refuse wrong credentials and an absent bucket."""
        with _named(str(self.place)):
            self.client.list_objects_v2(
                self.oss.ListObjectsV2Request(self.bucket, prefix=self.place.prefix, max_keys=1)
            )

    def tags(self) -> dict[str, str]:
        """Return the bucket's tags."""
        with _named(str(self.place)):
            answer = self.client.get_bucket_tags(self.oss.GetBucketTagsRequest(self.bucket))
        tags = getattr(getattr(answer.tagging, "tag_set", None), "tags", None) or []
        return {tag.key: tag.value for tag in tags}

    def storage_class(self) -> str:
        """Return the bucket's storage class."""
        with _named(str(self.place)):
            answer = self.client.get_bucket_info(self.oss.GetBucketInfoRequest(self.bucket))
        return str(answer.bucket_info.storage_class)

    def find(self, key: str) -> Found | None:
        """Return what is there."""
        with _absent(), _named(key):
            answer = self.client.head_object(self.oss.HeadObjectRequest(self.bucket, key))
            note = (answer.metadata or {}).get("sha256")
            etag = (answer.etag or "").strip('"').lower()
            return Found(answer.content_length, etag, note, answer.hash_crc64)
        return None

    def put(self, key: str, file: PublishedFile) -> None:
        """Send a whole file."""
        data = file.read()
        request = self.oss.PutObjectRequest(
            self.bucket, key, content_md5=md5_base64(data), metadata={"sha256": file.sha256},
            body=data,
        )  # fmt: skip
        with _named(key):
            self.client.put_object(request)

    def begin(self, key: str, file: PublishedFile) -> str:
        """Begin to send a file in parts; return the upload's id."""
        request = self.oss.InitiateMultipartUploadRequest(
            self.bucket, key, metadata={"sha256": file.sha256}
        )
        with _named(key):
            return self.client.initiate_multipart_upload(request).upload_id

    def pending(self, key: str) -> list[str]:
        """Return the ids of uploads of this key that were begun and never ended."""
        request = self.oss.ListMultipartUploadsRequest(self.bucket, prefix=key)
        with _named(key):
            uploads = self.client.list_multipart_uploads(request).uploads or []
        found = [entry for entry in uploads if entry.key == key]
        return [entry.upload_id for entry in sorted(found, key=lambda e: str(e.initiated))]

    def parts(self, key: str, upload: str) -> dict[int, tuple[int, str]] | None:
        """Return number -> (size, MD5) of the parts that are there; None if the upload is gone."""
        parts: dict[int, tuple[int, str]] = {}
        marker = 0
        with _absent(), _named(key):
            while True:
                answer = self.client.list_parts(
                    self.oss.ListPartsRequest(self.bucket, key, upload, part_number_marker=marker)
                )
                for part in answer.parts or []:
                    parts[part.part_number] = (part.size, part.etag.strip('"').lower())
                if not answer.is_truncated:
                    return parts
                marker = answer.next_part_number_marker
        return None

    def send(self, key: str, upload: str, number: int, data: bytes) -> str:
        """Send a part; return its MD5 as the store says it."""
        request = self.oss.UploadPartRequest(
            self.bucket, key, number, upload, content_md5=md5_base64(data), body=data
        )
        with _named(key):
            return self.client.upload_part(request).etag.strip('"').lower()

    def finish(self, key: str, upload: str, parts: Sequence[tuple[int, str]]) -> None:
        """Put parts together."""
        listed = [self.oss.UploadPart(number, f'"{etag.upper()}"') for number, etag in parts]
        request = self.oss.CompleteMultipartUploadRequest(
            self.bucket, key, upload,
            complete_multipart_upload=self.oss.CompleteMultipartUpload(listed),
        )  # fmt: skip
        with _named(key):
            self.client.complete_multipart_upload(request)

    def abandon(self, key: str, upload: str) -> None:
        """Drop parts."""
        request = self.oss.AbortMultipartUploadRequest(self.bucket, key, upload)
        with _absent(), _named(key):
            self.client.abort_multipart_upload(request)

    def delete(self, key: str) -> None:
        """Remove an object."""
        with _named(key):
            self.client.delete_object(self.oss.DeleteObjectRequest(self.bucket, key))

    def differs(self, file: PublishedFile, found: Found, parts: Sequence[str]) -> str | None:
        """Say in what an object is not the file; None if it is."""
        if found.size != file.size:
            return f"it has {found.size} bytes; expected {file.size}"
        if found.crc64 is not None and (expected := self._crc64(file)) != str(found.crc64):
            return f"its CRC64 is {found.crc64}; expected {expected}"
        if found.sha256 not in (None, file.sha256):
            return "it was sent from another file (another SHA-256 stands beside it)"
        return None

    def _crc64(self, file: PublishedFile) -> str:
        crc: Any = require("alibabacloud_oss_v2.crc", extra="alibaba", purpose="OSS").Crc64(0)
        for offset in range(0, file.size, _CHUNK):
            crc.update(file.read(offset, _CHUNK))
        return str(crc.sum64())


class _GoneError(Exception):
    """There is no such object or upload."""


@contextlib.contextmanager
def _absent() -> Iterator[None]:
    with contextlib.suppress(_GoneError):
        yield


@contextlib.contextmanager
def _named(where: str) -> Iterator[None]:
    """Turn the SDK's errors into ours."""
    from alibabacloud_oss_v2 import exceptions

    try:
        yield
    except exceptions.BaseError as error:
        cause: Any = error
        while hasattr(cause, "unwrap") and cause.unwrap() is not None:
            cause = cause.unwrap()
        if isinstance(cause, exceptions.ServiceError):
            raise _translated(cause, where) from error
        passing = (exceptions.RequestError, exceptions.ResponseError, exceptions.InconsistentError)
        if isinstance(cause, exceptions.BaseError) and not isinstance(cause, passing):
            raise ExportError(f"{where}: {cause}") from error
        raise TransientError(f"{type(cause).__name__}: {cause}.") from error


def _translated(error: Any, where: str) -> Exception:
    code, status = str(error.code or ""), int(error.status_code or 0)
    # The answer to a HEAD request has no body that could hold a code.
    if code in _GONE or (status == 404 and code in ("", "BadErrorResponse")):
        return _GoneError(code)
    if status >= 500 or status in (408, 429) or code == "RequestTimeout":
        return TransientError(f"{status} {code} {error.message}.")
    reason = _REFUSED.get(code)
    said = f"{reason} ({code})" if reason else f"{code} {error.message}"
    return ExportError(f"{where}: {said}.")
