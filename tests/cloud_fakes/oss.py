"""Alibaba Cloud OSS as its documentation has it: V4 signatures, CRC64, parts, tags.

Written from the pages on PutObject, InitiateMultipartUpload, UploadPart, ListParts,
CompleteMultipartUpload, GetBucketTags and "Include V4 signatures in the Authorization header".
Signatures are checked over what came in, with the secret of the key; a bad one is refused.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit
from xml.etree import ElementTree
from xml.sax.saxutils import escape

_POLY = 0xC96C5795D7870F42  # ECMA-182, reflected
_TABLE: list[int] = []
for _byte in range(256):
    _value = _byte
    for _ in range(8):
        _value = (_value >> 1) ^ (_POLY if _value & 1 else 0)
    _TABLE.append(_value)


def crc64(data: bytes) -> int:
    """CRC-64/XZ, one byte at a time: the check value of b"123456789" is 0x995DC9BBDF1939FA."""
    value = 0xFFFFFFFFFFFFFFFF
    for byte in data:
        value = _TABLE[(value ^ byte) & 0xFF] ^ (value >> 8)
    return value ^ 0xFFFFFFFFFFFFFFFF


@dataclass
class Bucket:
    tags: dict[str, str] = field(default_factory=dict)
    storage_class: str = "Standard"
    objects: dict[str, tuple[bytes, dict[str, str]]] = field(default_factory=dict)
    uploads: dict[str, tuple[str, dict[str, str], dict[int, bytes]]] = field(default_factory=dict)


class FakeOss:
    """A server for some buckets; `keys` are access key -> secret."""

    def __init__(self, keys: dict[str, str], region: str = "cn-beijing") -> None:
        self.keys, self.region = keys, region
        self.buckets: dict[str, Bucket] = {}
        self.lock = threading.Lock()
        self.server = ThreadingHTTPServer(
            ("127.0.0.1", 0), type("Handler", (_Handler,), {"oss": self})
        )
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.server.server_address[1]

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


class Refused(Exception):
    def __init__(self, status: int, code: str, message: str = "") -> None:
        super().__init__(code)
        self.status, self.code, self.message = status, code, message


def signature(
    secret: str, method: str, path: str, query: list[tuple[str, str]], headers: dict[str, str],
    region: str, additional: list[str],
) -> str:  # fmt: skip
    """The V4 signature of a request with the bucket in its path."""
    pairs = sorted((quote(k, safe="-_.~"), quote(v, safe="-_.~")) for k, v in query)
    canonical_query = "&".join(k + (f"={v}" if v else "") for k, v in pairs)
    signed = sorted(
        (name, value.strip()) for name, value in headers.items()
        if name.startswith("x-oss-") or name in ("content-type", "content-md5", *additional)
    )  # fmt: skip
    canonical = "\n".join([
        method, quote(unquote(path), safe="/-_.~"), canonical_query,
        "".join(f"{name}:{value}\n" for name, value in signed),
        ";".join(sorted(additional)), headers.get("x-oss-content-sha256", "UNSIGNED-PAYLOAD"),
    ])  # fmt: skip
    date = headers["x-oss-date"]
    scope = f"{date[:8]}/{region}/oss/aliyun_v4_request"
    text = "\n".join(
        ["OSS4-HMAC-SHA256", date, scope, hashlib.sha256(canonical.encode()).hexdigest()]
    )
    key = ("aliyun_v4" + secret).encode()
    for part in (date[:8], region, "oss", "aliyun_v4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    oss: FakeOss
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        pass

    def handle_any(self) -> None:
        self.data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urlsplit(self.path)
        self.query = dict(parse_qsl(parts.query, keep_blank_values=True))
        self.head = {name.lower(): value for name, value in self.headers.items()}
        bucket, _, key = unquote(parts.path).lstrip("/").partition("/")
        try:
            with self.oss.lock:
                self.authorise(parts.path)
                if bucket not in self.oss.buckets:
                    raise Refused(404, "NoSuchBucket", "The specified bucket does not exist.")
                status, headers, body = self.act(self.oss.buckets[bucket], bucket, key)
        except Refused as error:
            status, headers = error.status, {"x-oss-request-id": "1"}
            body = (
                f"<Error><Code>{error.code}</Code><Message>{escape(error.message)}</Message>"
                "<RequestId>1</RequestId></Error>"
            ).encode()
        self.send_response(status)
        headers.setdefault("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def authorise(self, path: str) -> None:
        words = self.head.get("authorization", "")
        if not words.startswith("OSS4-HMAC-SHA256 "):
            raise Refused(403, "AccessDenied", "Anonymous access is forbidden.")
        given = dict(item.strip().split("=", 1) for item in words[17:].split(","))
        key, date, region, product, kind = given["Credential"].split("/")
        if key not in self.oss.keys:
            raise Refused(403, "InvalidAccessKeyId", "The access key does not exist.")
        scope = (self.head["x-oss-date"][:8], self.oss.region, "oss", "aliyun_v4_request")
        if (date, region, product, kind) != scope:
            raise Refused(400, "InvalidArgument", "Invalid signing region or date.")
        expected = signature(
            self.oss.keys[key], self.command, path, list(self.query.items()), self.head, region,
            [name for name in given.get("AdditionalHeaders", "").split(";") if name],
        )  # fmt: skip
        if expected != given["Signature"]:
            raise Refused(403, "SignatureDoesNotMatch", "The signature does not match.")

    def act(self, bucket: Bucket, name: str, key: str) -> tuple[int, dict[str, str], bytes]:
        if not key:
            return self.act_on_bucket(bucket, name)
        verb = f"{self.command} {'uploads' if 'uploads' in self.query else ''}" \
            f"{'uploadId' if 'uploadId' in self.query else ''}".strip()  # fmt: skip
        return {
            "PUT": self.put_object, "HEAD": self.head_object, "DELETE": self.delete_object,
            "POST uploads": self.initiate, "PUT uploadId": self.upload_part,
            "GET uploadId": self.list_parts, "POST uploadId": self.complete,
            "DELETE uploadId": self.abort,
        }[verb](bucket, name, key)  # fmt: skip

    def act_on_bucket(self, bucket: Bucket, name: str) -> tuple[int, dict[str, str], bytes]:
        if "tagging" in self.query:
            tags = "".join(
                f"<Tag><Key>{k}</Key><Value>{v}</Value></Tag>" for k, v in bucket.tags.items()
            )
            return xml(f"<Tagging><TagSet>{tags}</TagSet></Tagging>")
        if "bucketInfo" in self.query:
            return xml(
                f"<BucketInfo><Bucket><Name>{name}</Name><StorageClass>"
                f"{bucket.storage_class}</StorageClass></Bucket></BucketInfo>"
            )
        if "uploads" in self.query:
            found = "".join(
                f"<Upload><Key>{key}</Key><UploadId>{upload}</UploadId>"
                f"<Initiated>2026-01-01T00:00:{number:02d}.000Z</Initiated></Upload>"
                for number, (upload, (key, _, _)) in enumerate(bucket.uploads.items())
                if key.startswith(self.query.get("prefix", ""))
            )
            return xml(
                f"<ListMultipartUploadsResult><Bucket>{name}</Bucket>{found}"
                "<IsTruncated>false</IsTruncated></ListMultipartUploadsResult>"
            )
        return xml(f"<ListBucketResult><Name>{name}</Name></ListBucketResult>")

    def checked(self) -> bytes:
        md5 = base64.b64encode(hashlib.md5(self.data).digest()).decode()
        if self.head.get("content-md5", md5) != md5:
            raise Refused(400, "InvalidDigest")
        return self.data

    def notes(self) -> dict[str, str]:
        return {k: v for k, v in self.head.items() if k.startswith("x-oss-meta-")}

    def put_object(self, bucket: Bucket, name: str, key: str) -> Any:
        bucket.objects[key] = (self.checked(), self.notes())
        return 200, about(self.data), b""

    def head_object(self, bucket: Bucket, name: str, key: str) -> Any:
        if key not in bucket.objects:
            raise Refused(404, "NoSuchKey")
        data, notes = bucket.objects[key]
        return 200, {**about(data), **notes, "Content-Length": str(len(data))}, b""

    def delete_object(self, bucket: Bucket, name: str, key: str) -> Any:
        bucket.objects.pop(key, None)
        return 204, {}, b""

    def initiate(self, bucket: Bucket, name: str, key: str) -> Any:
        upload = hashlib.md5(f"{key}{len(bucket.uploads)}".encode()).hexdigest().upper()
        bucket.uploads[upload] = (key, self.notes(), {})
        return xml(
            f"<InitiateMultipartUploadResult><Bucket>{name}</Bucket><Key>{key}</Key>"
            f"<UploadId>{upload}</UploadId></InitiateMultipartUploadResult>"
        )

    def upload(self, bucket: Bucket) -> tuple[str, dict[str, str], dict[int, bytes]]:
        if self.query["uploadId"] not in bucket.uploads:
            raise Refused(404, "NoSuchUpload")
        return bucket.uploads[self.query["uploadId"]]

    def upload_part(self, bucket: Bucket, name: str, key: str) -> Any:
        self.upload(bucket)[2][int(self.query["partNumber"])] = self.checked()
        return 200, about(self.data), b""

    def list_parts(self, bucket: Bucket, name: str, key: str) -> Any:
        """Two at a time, so that readers have to turn the page."""
        parts = self.upload(bucket)[2]
        after = int(self.query.get("part-number-marker", 0) or 0)
        rest = [number for number in sorted(parts) if number > after]
        shown = "".join(
            f"<Part><PartNumber>{n}</PartNumber><ETag>{about(parts[n])['ETag']}</ETag>"
            f"<Size>{len(parts[n])}</Size><HashCrc64ecma>{crc64(parts[n])}</HashCrc64ecma>"
            "</Part>"
            for n in rest[:2]
        )
        return xml(
            f"<ListPartsResult><Bucket>{name}</Bucket><Key>{key}</Key>"
            f"<NextPartNumberMarker>{rest[:2][-1] if rest else 0}</NextPartNumberMarker>"
            f"<IsTruncated>{'true' if len(rest) > 2 else 'false'}</IsTruncated>{shown}"
            "</ListPartsResult>"
        )

    def complete(self, bucket: Bucket, name: str, key: str) -> Any:
        _, notes, parts = self.upload(bucket)
        data = b""
        listed = ElementTree.fromstring(self.data).findall("Part")
        for number, part in enumerate(listed, start=1):
            found = parts[int(part.findtext("PartNumber") or 0)]
            tag = (part.findtext("ETag") or "").strip('"')
            if number < len(listed) and len(found) < 100 * 1024:
                raise Refused(400, "EntityTooSmall")
            if tag.upper() != hashlib.md5(found).hexdigest().upper():
                raise Refused(400, "InvalidPart")
            data += found
        del bucket.uploads[self.query["uploadId"]]
        bucket.objects[key] = (data, notes)
        return xml(
            f"<CompleteMultipartUploadResult><Bucket>{name}</Bucket><Key>{key}</Key>"
            f'<ETag>"{len(listed)}-X"</ETag></CompleteMultipartUploadResult>',
            {"x-oss-hash-crc64ecma": str(crc64(data))},
        )

    def abort(self, bucket: Bucket, name: str, key: str) -> Any:
        self.upload(bucket)
        del bucket.uploads[self.query["uploadId"]]
        return 204, {}, b""

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_any


def about(data: bytes) -> dict[str, str]:
    return {
        "ETag": f'"{hashlib.md5(data).hexdigest().upper()}"',
        "x-oss-hash-crc64ecma": str(crc64(data)),
        "x-oss-request-id": "1",
    }


def xml(text: str, headers: dict[str, str] | None = None) -> tuple[int, dict[str, str], bytes]:
    head = {"Content-Type": "application/xml", "x-oss-request-id": "1", **(headers or {})}
    return 200, head, f'<?xml version="1.0" encoding="UTF-8"?>{text}'.encode()
