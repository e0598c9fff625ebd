"""Files sent to an object store in parts, each once, however often the way is cut."""

from __future__ import annotations

import base64
import hashlib
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import TypeVar

from swiftrl.core import log
from swiftrl.core.errors import ExportError
from swiftrl.export.publish.listing import PublishedFile
from swiftrl.export.publish.retrying import with_retries
from swiftrl.export.publish.state import State
from swiftrl.export.publish.store import Found, ObjectStore, Place

__all__ = ["Sender", "md5_base64", "part_size_of"]

T = TypeVar("T")

_MOST_PARTS = 10_000
_MIB = 2**20


def part_size_of(size: int, wanted: int) -> int:
    """Return the size of a file's parts: the wanted one, unless there would be too many.

    Args:
        size: of the file, bytes.
        wanted: size of a part, bytes.
    """
    least = -(-size // _MOST_PARTS)
    return max(wanted, -(-least // _MIB) * _MIB)


def md5_base64(data: bytes) -> str:
    """Return Content-MD5 of some bytes."""
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()


def _md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


@dataclass
class Sender:
    """Sends the files of one export.

    Attributes:
        store: where to.
        place: folder of the bucket.
        state: remembers uploads that are under way.
        part_size: bytes.
        attempts: times that a request is tried.
        threads: parts that are under way at once.
    """

    store: ObjectStore
    place: Place
    state: State
    part_size: int
    attempts: int
    threads: int

    def send(self, files: Sequence[PublishedFile]) -> None:
        """Send files that are not there yet, and check each by the store's own checksum.

        Raises:
            ExportError: the store refuses, or holds something else afterwards.
        """
        self._retry(f"looking at {self.place}", self.store.check)
        total = sum(file.size for file in files)
        progress = log.Progress("MiB sent", -(-total // _MIB))
        counted, lock = [0], threading.Lock()

        def count(size: int) -> None:
            with lock:
                counted[0] += size
                progress.update(counted[0] // _MIB)

        there = 0
        for file in files:
            if self.find_same(file):
                there += 1
                count(file.size)
            elif file.size <= self.part_size:
                self._send_whole(file)
                count(file.size)
            else:
                self._send_parts(file, count)
        progress.close()
        sent = f"{len(files)} files ({total / _MIB:.1f} MiB) are at {self.place}"
        log.info(f"{sent}; {there} were there before." if there else f"{sent}.")

    def find_same(self, file: PublishedFile) -> bool:
        """Return whether the store holds this very file."""
        found = self._find(file)
        if found is None or found.size != file.size:
            return False
        # Without our own note an object of the same size may be anything.
        return found.sha256 == file.sha256 and self.store.differs(file, found, ()) is None

    def check(
        self, file: PublishedFile, parts: Sequence[str] = (), *, just_sent: bool = False
    ) -> None:
        """Refuse what is not at its place as it was sent.

        Args:
            file: as it should be.
            parts: MD5 of each part, if it was sent in parts just now.
            just_sent: by this run; later looks are held against what is found now.

        Raises:
            ExportError: it is absent or differs.
        """
        found = self._find(file)
        if found is None:
            raise ExportError(f"{self.place}{file.name}: is not there. Give --stage upload.")
        problem = self.store.differs(file, found, parts)
        known = self.state.section("objects").get(self.place.key(file.name))
        if not problem and not just_sent and known and known != [file.sha256, found.etag]:
            problem = f"it has changed since it was sent (ETag {found.etag} for {known[1]})"
        if problem:
            raise ExportError(
                f"{self.place}{file.name}: {problem}. Somebody else may have written there; give "
                "--stage upload to send it again."
            )
        self.state.put("objects", **{self.place.key(file.name): [file.sha256, found.etag]})

    def clean(self, files: Sequence[PublishedFile]) -> None:
        """Remove files from the store, and parts that were never put together."""
        for file in files:
            key = self.place.key(file.name)
            for upload in self._retry(f"{key}: looking", lambda key=key: self.store.pending(key)):
                self._retry(f"{key}: dropping", lambda k=key, u=upload: self.store.abandon(k, u))
            if self._find(file) is not None:
                self._retry(f"{key}: removing", lambda key=key: self.store.delete(key))
        self.state.drop("uploads")
        self.state.drop("objects")

    def _find(self, file: PublishedFile) -> Found | None:
        key = self.place.key(file.name)
        return self._retry(f"{key}: looking", lambda: self.store.find(key))

    def _send_whole(self, file: PublishedFile) -> None:
        key = self.place.key(file.name)
        with_retries(
            f"{key}: sending",
            lambda: self.store.put(key, file),
            attempts=self.attempts,
            settled=lambda: self._settled(key, file),
        )
        self.check(file, just_sent=True)

    def _settled(self, key: str, file: PublishedFile, parts: Sequence[str] = ()) -> bool | None:
        """Return True if a file is there although no answer came."""
        found = self.store.find(key)
        same = found is not None and found.sha256 == file.sha256
        if found is None or not same or self.store.differs(file, found, parts):
            return None
        return True

    def _send_parts(self, file: PublishedFile, count: Callable[[int], None]) -> None:
        """Send a file in parts: those that the store does not list yet."""
        key = self.place.key(file.name)
        upload, size, there = self._begun(key, file)
        numbers = range(1, -(-file.size // size) + 1)
        etags: dict[int, str] = {}
        stopped = threading.Event()

        def one(number: int) -> None:
            if stopped.is_set():
                return
            data = file.read((number - 1) * size, size)
            etags[number] = self._send_part(key, upload, number, data, there.get(number))
            count(len(data))

        with ThreadPoolExecutor(self.threads) as pool:
            futures = [pool.submit(one, number) for number in numbers]
            try:
                for future in as_completed(futures):
                    future.result()
            except BaseException:
                stopped.set()
                raise
        ordered = [(number, etags[number]) for number in numbers]
        hashes = [etag for _, etag in ordered]
        with_retries(
            f"{key}: putting {len(ordered)} parts together",
            lambda: self.store.finish(key, upload, ordered),
            attempts=self.attempts,
            settled=lambda: self._settled(key, file, hashes),
        )
        self.check(file, hashes, just_sent=True)
        self.state.drop("uploads", key)

    def _send_part(
        self, key: str, upload: str, number: int, data: bytes, there: tuple[int, str] | None
    ) -> str:
        md5 = _md5(data)
        if there == (len(data), md5):
            return md5

        def arrived() -> str | None:
            listed = (self.store.parts(key, upload) or {}).get(number)
            return md5 if listed == (len(data), md5) else None

        said = with_retries(
            f"{key}: part {number}",
            lambda: self.store.send(key, upload, number, data),
            attempts=self.attempts,
            settled=arrived,
        )
        if said != md5:
            raise ExportError(
                f"{key}: part {number} arrived otherwise than it was sent (MD5 {said} for {md5}). "
                "Give the same command to send it again."
            )
        return md5

    def _begun(self, key: str, file: PublishedFile) -> tuple[str, int, dict[int, tuple[int, str]]]:
        """Return an upload's id, the size of its parts, and those that are there.

        One that an earlier run left is taken up. That it was to begin is written down before,
        so that it is found at the store if the run was killed before its id could be.
        """
        known = self.state.section("uploads").get(key)
        if known and known["sha256"] != file.sha256:
            if old := known["upload"]:
                self._retry(f"{key}: dropping", lambda: self.store.abandon(key, old))
            known = None
        if known:
            upload = known["upload"] or self._latest(key)
            parts = self._parts(key, upload) if upload else None
            if upload and parts is not None:
                log.info(f"{key}: {len(parts)} parts are there; going on.")
                self._note(key, file, upload, known["part_size"])
                return upload, known["part_size"], parts
        size = part_size_of(file.size, self.part_size)
        self._note(key, file, None, size)
        upload = self._begin(key, file)
        self._note(key, file, upload, size)
        return upload, size, {}

    def _note(self, key: str, file: PublishedFile, upload: str | None, size: int) -> None:
        entry = {"upload": upload, "part_size": size, "sha256": file.sha256}
        self.state.put("uploads", **{key: entry})

    def _latest(self, key: str) -> str | None:
        pending = self._retry(f"{key}: looking", lambda: self.store.pending(key))
        return pending[-1] if pending else None

    def _begin(self, key: str, file: PublishedFile) -> str:
        return with_retries(
            f"{key}: beginning",
            lambda: self.store.begin(key, file),
            attempts=self.attempts,
            settled=lambda: next(reversed(self.store.pending(key)), None),
        )

    def _parts(self, key: str, upload: str) -> dict[int, tuple[int, str]] | None:
        return self._retry(f"{key}: parts", lambda: self.store.parts(key, upload))

    def _retry(self, what: str, attempt: Callable[[], T]) -> T:
        return with_retries(what, attempt, attempts=self.attempts)
