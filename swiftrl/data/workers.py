"""Encoding records, part by part, in this process or in others."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from swiftrl.core.errors import MachineError
from swiftrl.core.lifeline import end_with_parent_process
from swiftrl.data.rejects import Reject, row_text
from swiftrl.data.rows import RawRow, Record, RowError
from swiftrl.data.sources import Source
from swiftrl.data.store import Chunk, EncodedRow

__all__ = ["Done", "Part", "RowEncoder", "TooLong", "Worker", "encoded", "parts_of"]

_CHUNK_ROWS = 64
_CHUNK_BYTES = 1 << 20
_CHUNKS_AHEAD = 4


class TooLong(RowError):
    """A row is longer than --max_length and the truncation strategy deletes such rows."""


class RowEncoder(Protocol):
    """Makes encoded rows of a raw one. Instances travel to worker processes."""

    @property
    def fingerprint(self) -> str:
        """Changes whenever the encoder would give other tokens for the same row."""
        ...

    def __call__(self, raw: RawRow) -> list[EncodedRow]:
        """Encode a row; raise RowError when it does not fit, TooLong when it is deleted."""
        ...


@dataclass(frozen=True, slots=True)
class Part:
    """Records of one source on their way to a worker."""

    source: int
    numbers: tuple[int, ...]
    records: tuple[Record, ...]


@dataclass(frozen=True, slots=True)
class Done:
    """What came of a part."""

    source: int
    num_records: int
    chunk: Chunk
    rejects: tuple[Reject, ...]


def parts_of(sources: Sequence[Source], picks: np.ndarray | None) -> Iterator[Part]:
    """Yield the records wanted, cut into parts.

    Args:
        sources: read in this order.
        picks: numbers of the records over all sources together; None for all.
    """
    wanted = None if picks is None else iter(np.sort(picks).tolist())
    numbers = itertools.count()
    awaited = next(wanted, None) if wanted is not None else None
    for index, source in enumerate(sources):
        held: list[tuple[int, Record]] = []
        size = 0
        for record in source.records():
            number = next(numbers)
            if wanted is not None:
                if number != awaited:
                    continue
                awaited = next(wanted, None)
            held.append((number, record))
            size += len(record.data) if isinstance(record.data, bytes) else 0
            if len(held) == _CHUNK_ROWS or size > _CHUNK_BYTES:
                yield _part(index, held)
                held, size = [], 0
            if wanted is not None and awaited is None:
                break
        if held:
            yield _part(index, held)
        if wanted is not None and awaited is None:
            return


def _part(source: int, held: Sequence[tuple[int, Record]]) -> Part:
    numbers, records = zip(*held, strict=True)
    return Part(source, numbers, records)


def encoded(parts: Iterator[Part], worker: Worker, num_proc: int) -> Iterator[Done]:
    """Yield the results of `parts` in order, made in this process or in `num_proc` others.

    Raises:
        RowError: a bad row, when strict: the first one in the order of the rows.
        MachineError: a worker process died.
    """
    if num_proc <= 1:
        yield from map(worker, parts)
        return
    pool = ProcessPoolExecutor(
        num_proc,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start_worker,
        initargs=(worker,),
    )
    try:
        waiting = deque(
            pool.submit(_work, part) for part in itertools.islice(parts, num_proc * _CHUNKS_AHEAD)
        )
        while waiting:
            yield waiting.popleft().result()
            waiting.extend(pool.submit(_work, part) for part in itertools.islice(parts, 1))
    except BrokenProcessPool:
        raise MachineError(
            "a process that encodes rows ended unexpectedly, most often for lack of memory. Lower "
            "--dataset_num_proc."
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@dataclass(frozen=True, slots=True)
class Worker:
    """Encodes parts."""

    encoder: RowEncoder
    sources: tuple[Source, ...]
    strict: bool

    def __call__(self, part: Part) -> Done:
        """Encode the records of a part."""
        rows: list[EncodedRow] = []
        numbers: list[int] = []
        rejects: list[Reject] = []
        source = self.sources[part.source]
        for number, record in zip(part.numbers, part.records, strict=True):
            try:
                made = self.encoder(source.decode(record))
            except RowError as error:
                too_long = isinstance(error, TooLong)
                if self.strict and not too_long:
                    raise
                cause = "too_long" if too_long else "bad"
                rejects.append(Reject(error.origin, error.reason, cause, row_text(record)))
                continue
            rows += made
            numbers += [number] * len(made)
        chunk = Chunk.of(rows, numbers, part.source)
        return Done(part.source, len(part.numbers), chunk, tuple(rejects))


_worker: list[Worker] = []


def _start_worker(worker: Worker) -> None:
    # Ctrl-C reaches the parent too, which ends the pool; here it would only print tracebacks.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent_process()
    # The processes share the cores already; the tokenizers' threads in each would only compete.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    _worker[:] = [worker]


def _work(part: Part) -> Done:
    return _worker[0](part)
