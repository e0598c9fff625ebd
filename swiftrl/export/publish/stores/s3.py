"""Amazon S3, and what speaks its protocol (Huawei OBS, MinIO), by boto3."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

from swiftrl.core.compat import require
from swiftrl.core.errors import ConfigError, ExportError
from swiftrl.export.publish.listing import PublishedFile
from swiftrl.export.publish.multipart import md5_base64
from swiftrl.export.publish.retrying import TransientError
from swiftrl.export.publish.secret import AccessKey
from swiftrl.export.publish.store import Found, Place

__all__ = ["S3Store", "s3_store"]

_NOTE = "sha256"
"""Name of the metadata that holds a file's SHA-256."""

_REFUSED = {
    "InvalidAccessKeyId": "the access key is unknown",
    "SignatureDoesNotMatch": "the secret key does not fit the access key",
    "InvalidToken": "the session token is wrong",
    "ExpiredToken": "the session token has expired",
    "AccessDenied": "the keys may not do this",
    "AllAccessDisabled": "the bucket is locked",
    "403": "the keys may not do this",
    "NoSuchBucket": "there is no such bucket; make it first",
    "PermanentRedirect": "the bucket is in another region; give --region",
    "AuthorizationHeaderMalformed": "the bucket is in another region; give --region",
    "301": "the bucket is in another region; give --region",
}

_GONE = ("404", "NoSuchKey", "NoSuchUpload", "NotFound")

_TRANSIENT = ("RequestTimeout", "SlowDown", "Throttling", "ThrottlingException", "BadDigest")


def s3_store(
    place: Place,
    *,
    region: str | None,
    endpoint: str | None,
    key: AccessKey | None = None,
    extra: str = "aws",
) -> S3Store:
    """Return the store that holds a place.

    Args:
        place: bucket and folder.
        region: of the bucket; None leaves it to boto3's own settings.
        endpoint: URL; None for Amazon's.
        key: credentials; None leaves them to boto3's own sources (environment, ~/.aws, roles).
        extra: of swiftrl that installs boto3.

    Raises:
        ConfigError: boto3 is absent, or there are no credentials or no region.
    """
    boto3: Any = require("boto3", extra=extra, purpose=f"--destination {place}")
    config = require("botocore.config", extra=extra, purpose=f"--destination {place}").Config(
        # Each request is tried once here: what follows a failure is decided in one place.
        retries={"total_max_attempts": 1},
        connect_timeout=10,
        read_timeout=120,
        signature_version="s3v4",
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    words = {}
    if key is not None:
        words = {
            "aws_access_key_id": key.id.reveal(),
            "aws_secret_access_key": key.secret.reveal(),
            "aws_session_token": key.token.reveal() if key.token else None,
        }
    with _named(str(place)):
        session = boto3.Session(region_name=region, **words)
        if session.get_credentials() is None:
            raise ConfigError(
                f"--destination {place}: no credentials: set AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY, or fill ~/.aws/credentials (AWS_PROFILE chooses)."
            )
        client = session.client("s3", endpoint_url=endpoint, config=config)
    return S3Store(client, place)


class S3Store:
    """A bucket of S3.

    Args:
        client: boto3's.
        place: bucket and folder.
    """

    def __init__(self, client: Any, place: Place) -> None:
        self.client = client
        self.bucket = place.bucket
        self.place = place

    def check(self) -> None:
        """Refuse wrong credentials and an absent bucket."""
        with _named(str(self.place)):
            self.client.list_objects_v2(Bucket=self.bucket, Prefix=self.place.prefix, MaxKeys=1)

    def find(self, key: str) -> Found | None:
        """Return what is there."""
        with _absent(), _named(key):
            answer = self.client.head_object(Bucket=self.bucket, Key=key)
            # Under a key of KMS the ETag is no hash of the content.
            secret = str(answer.get("ServerSideEncryption", "")).startswith("aws:kms")
            etag = "" if secret else answer["ETag"].strip('"')
            return Found(answer["ContentLength"], etag, answer.get("Metadata", {}).get(_NOTE))
        return None

    def put(self, key: str, file: PublishedFile) -> None:
        """Send a whole file."""
        data = file.read()
        with _named(key):
            self.client.put_object(
                Bucket=self.bucket, Key=key, Body=data, ContentMD5=md5_base64(data),
                Metadata={_NOTE: file.sha256},
            )  # fmt: skip

    def begin(self, key: str, file: PublishedFile) -> str:
        """Begin to send a file in parts; return the upload's id."""
        with _named(key):
            answer = self.client.create_multipart_upload(
                Bucket=self.bucket, Key=key, Metadata={_NOTE: file.sha256}
            )
        return answer["UploadId"]

    def pending(self, key: str) -> list[str]:
        """Return the ids of uploads of this key that were begun and never ended."""
        with _named(key):
            answer = self.client.list_multipart_uploads(Bucket=self.bucket, Prefix=key)
        found = [entry for entry in answer.get("Uploads", []) if entry["Key"] == key]
        return [entry["UploadId"] for entry in sorted(found, key=lambda e: e["Initiated"])]

    def parts(self, key: str, upload: str) -> dict[int, tuple[int, str]] | None:
        """Return number -> (size, MD5) of the parts that are there; None if the upload is gone."""
        parts: dict[int, tuple[int, str]] = {}
        marker = 0
        with _absent(), _named(key):
            while True:
                answer = self.client.list_parts(
                    Bucket=self.bucket, Key=key, UploadId=upload, PartNumberMarker=marker
                )
                for part in answer.get("Parts", []):
                    parts[part["PartNumber"]] = (part["Size"], part["ETag"].strip('"'))
                if not answer.get("IsTruncated"):
                    return parts
                marker = answer["NextPartNumberMarker"]
        return None

    def send(self, key: str, upload: str, number: int, data: bytes) -> str:
        """Send a part; return its MD5 as the store says it."""
        with _named(key):
            answer = self.client.upload_part(
                Bucket=self.bucket, Key=key, UploadId=upload, PartNumber=number, Body=data,
                ContentMD5=md5_base64(data),
            )  # fmt: skip
        return answer["ETag"].strip('"')

    def finish(self, key: str, upload: str, parts: Sequence[tuple[int, str]]) -> None:
        """Put parts together."""
        listed = [{"PartNumber": number, "ETag": etag} for number, etag in parts]
        with _named(key):
            self.client.complete_multipart_upload(
                Bucket=self.bucket, Key=key, UploadId=upload, MultipartUpload={"Parts": listed}
            )

    def abandon(self, key: str, upload: str) -> None:
        """Drop parts."""
        with _absent(), _named(key):
            self.client.abort_multipart_upload(Bucket=self.bucket, Key=key, UploadId=upload)

    def delete(self, key: str) -> None:
        """Remove an object."""
        with _named(key):
            self.client.delete_object(Bucket=self.bucket, Key=key)

    def differs(self, file: PublishedFile, found: Found, parts: Sequence[str]) -> str | None:
        """Say in what an object is not the file; None if it is."""
        if found.size != file.size:
            return f"it has {found.size} bytes; expected {file.size}"
        if found.etag and (expected := _etag(file, found, parts)) not in (None, found.etag):
            return f"its ETag is {found.etag}; expected {expected}"
        if found.sha256 not in (None, file.sha256):
            return "it was sent from another file (another SHA-256 stands beside it)"
        return None


def _etag(file: PublishedFile, found: Found, parts: Sequence[str]) -> str | None:
    """Return the ETag that a file should have; None if it was sent in parts that are not known."""
    if parts:
        joined = b"".join(bytes.fromhex(part) for part in parts)
        return f"{hashlib.md5(joined, usedforsecurity=False).hexdigest()}-{len(parts)}"
    if "-" in found.etag:
        return None
    return hashlib.md5(file.read(), usedforsecurity=False).hexdigest()


class _GoneError(Exception):
    """There is no such object or upload."""


@contextlib.contextmanager
def _absent() -> Iterator[None]:
    with contextlib.suppress(_GoneError):
        yield


@contextlib.contextmanager
def _named(where: str) -> Iterator[None]:
    """Turn boto3's errors into ours."""
    from botocore import exceptions

    try:
        yield
    except exceptions.ClientError as error:
        raise _translated(error.response, where) from error
    except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError) as error:
        raise ConfigError(f"{where}: {error} Set both keys.") from error
    except (exceptions.NoRegionError, exceptions.ProfileNotFound) as error:
        raise ConfigError(f"{where}: {error} Give --region, or mend ~/.aws/config.") from error
    except exceptions.HTTPClientError as error:
        raise TransientError(f"{type(error).__name__}: {error}.") from error


def _translated(answer: Any, where: str) -> Exception:
    code = str(answer.get("Error", {}).get("Code", ""))
    status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    message = answer.get("Error", {}).get("Message", "")
    if code in _GONE:
        return _GoneError(code)
    if status >= 500 or status == 429 or code in _TRANSIENT:
        return TransientError(f"{status} {code} {message}.")
    reason = _REFUSED.get(code)
    return ExportError(f"{where}: {reason} ({code})." if reason else f"{where}: {code} {message}.")
