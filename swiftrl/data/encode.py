"""Rows to token ids: in parallel, cached on disk, with every row accounted for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from swiftrl.core import log
from swiftrl.core.errors import DataError
from swiftrl.core.files import atomic_directory, disk_errors
from swiftrl.data.rejects import Reject, nothing_left
from swiftrl.data.rows import Origin
from swiftrl.data.sources import Source
from swiftrl.data.store import EncodedRow, Store, StoreWriter
from swiftrl.data.workers import RowEncoder, TooLong, Worker, encoded, parts_of

__all__ = ["EncodeJob", "EncodedRow", "RowEncoder", "TooLong", "default_cache", "encode_sources"]

# Raised whenever the same rows and settings would give other arrays than before.
CACHE_VERSION = 4
# Starting processes takes as long as encoding this many rows.
_ROWS_WORTH_PROCESSES = 2000
_REJECTS_NAME = "rejects.json"


@dataclass(frozen=True)
class EncodeJob:
    """How to encode the rows of some sources.

    Attributes:
        encoder: what makes tokens of a row.
        strict: stop at the first bad row; otherwise set bad rows aside. Rows that are too long
            under truncation strategy "delete" are set aside either way.
        num_proc: processes, for more than a few thousand rows; 1 works in this one.
        cache_dir: where stores lie.
        use_cache: take a store made before with the same rows and settings.
    """

    encoder: RowEncoder
    strict: bool = True
    num_proc: int = 1
    cache_dir: Path = field(default_factory=lambda: default_cache())
    use_cache: bool = True


def default_cache() -> Path:
    """Return ~/.cache/swiftrl."""
    return Path.home() / ".cache" / "swiftrl"


def encode_sources(
    sources: Sequence[Source], job: EncodeJob, picks: np.ndarray | None = None
) -> tuple[Store, list[Reject]]:
    """Encode the rows of `sources`, or open the store where that was done before.

    The store's key is made of the files' contents, the encoder's fingerprint, the rows picked
    and `strict`, so that a changed file or setting is never answered from the cache. A damaged
    store is made again. Processes that want the same store wait for the first of them.

    Args:
        sources: files and hub splits, read in this order.
        job: how.
        picks: numbers of the records wanted, over all sources together; None for all.

    Returns:
        The store, its rows in the order of the records; and the rows that were set aside.

    Raises:
        RowError: a bad row, when strict.
        DataError: a file cannot be read, or no row is left.
        MachineError: a worker process died, or the disk is full.
    """
    from filelock import FileLock

    key = _key(sources, job, picks)
    folder = job.cache_dir / "encoded" / key[:32]
    lock = FileLock(folder.with_name(f".{folder.name}.lock"))
    with disk_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    try:
        opened = _cached(folder, key) if job.use_cache else None
        if opened is None:
            with atomic_directory(folder) as building:
                _build(building, key, sources, job, picks)
            opened = Store(folder, key, verify=False), _saved_rejects(folder)
    finally:
        lock.release()
    store, rejects = opened
    store.sources = [source.name for source in sources]
    return store, [_renamed(item, store.sources) for item in rejects]


def _renamed(item: tuple[int, Reject], names: Sequence[str]) -> Reject:
    source, reject = item
    origin = Origin(names[source], reject.origin.line)
    return Reject(origin, reject.reason, reject.cause, reject.row)


def _key(sources: Sequence[Source], job: EncodeJob, picks: np.ndarray | None) -> str:
    picked = None if picks is None else hashlib.sha256(picks.astype("<i8").tobytes()).hexdigest()
    settings = {
        "version": CACHE_VERSION,
        "sources": [source.fingerprint() for source in sources],
        "encoder": job.encoder.fingerprint,
        "strict": job.strict,
        "picks": picked,
    }
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def _cached(folder: Path, key: str) -> tuple[Store, list[tuple[int, Reject]]] | None:
    if not folder.exists():
        return None
    try:
        return Store(folder, key), _saved_rejects(folder)
    except DataError as error:
        log.warn(f"the cache of encoded rows is damaged and is made again: {error}")
        return None


def _saved_rejects(folder: Path) -> list[tuple[int, Reject]]:
    path = folder / _REJECTS_NAME
    try:
        return [
            (item.pop("source"), Reject(Origin(**item.pop("origin")), **item))
            for item in json.loads(path.read_text(encoding="utf-8"))
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: cannot be read ({error}).") from None


def _build(
    folder: Path,
    key: str,
    sources: Sequence[Source],
    job: EncodeJob,
    picks: np.ndarray | None,
) -> None:
    total = len(picks) if picks is not None else sum(source.count() for source in sources)
    names = ", ".join(source.name for source in sources[:3]) + (", ..." if sources[3:] else "")
    progress = log.Progress(f"encoding {names}", total)
    writer = StoreWriter(folder)
    rejects: list[tuple[int, Reject]] = []
    done = 0
    num_proc = job.num_proc if total >= _ROWS_WORTH_PROCESSES else 1
    worker = Worker(job.encoder, tuple(sources), job.strict)
    try:
        for part in encoded(parts_of(sources, picks), worker, num_proc):
            writer.append(part.chunk)
            rejects += [(part.source, reject) for reject in part.rejects]
            done += part.num_records
            progress.update(done)
    finally:
        progress.close()
        writer.close()
    if not writer.num_rows:
        raise DataError(nothing_left(names, [reject for _, reject in rejects]))
    saved = [{"source": source, **asdict(reject)} for source, reject in rejects]
    (folder / _REJECTS_NAME).write_text(json.dumps(saved, ensure_ascii=False), encoding="utf-8")
    writer.finish(key, [source.name for source in sources], {"records": done})
