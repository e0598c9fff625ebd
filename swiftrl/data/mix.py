"""Which rows, in which order: sampling, shuffling, interleaving, splitting.

Everything here works on row numbers, so that rows need not be in memory, and draws its numbers
from SplitMix64, so that a seed gives the same order on every platform and with every version of
every library.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal, TypeVar

import numpy as np

from swiftrl.core.errors import ConfigError, DataError

__all__ = [
    "Stopping",
    "check_probabilities",
    "concatenated",
    "interleaved",
    "permutation",
    "sample",
    "shuffled_stream",
    "split",
    "stream_interleaved",
    "uniforms",
]

T = TypeVar("T")
Stopping = Literal["first_exhausted", "all_exhausted"]

_GOLDEN = 0x9E3779B97F4A7C15
_MASK = 2**64 - 1
_DRAWS = 65536


def _words(start: int, count: int, seed: int) -> np.ndarray:
    """Return `count` uint64 words of the stream `seed`, from number `start` on.

    SplitMix64 (Steele, Lea and Flood 2014), indexed rather than iterated.
    """
    first = (_scrambled(seed) + _GOLDEN * (start + 1)) & _MASK
    with np.errstate(over="ignore"):
        z = np.uint64(first) + np.arange(count, dtype=np.uint64) * np.uint64(_GOLDEN)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def _scrambled(seed: int) -> int:
    """Spread seeds apart, since streams of neighbouring states would overlap."""
    z = (seed * 0xD1342543DE82EF95 + 0x2545F4914F6CDD1D) & _MASK
    z = ((z ^ (z >> 32)) * 0xDABA0B6EB09322E3) & _MASK
    return z ^ (z >> 29)


def uniforms(count: int, seed: int, *, start: int = 0) -> np.ndarray:
    """Return [count] float64 in [0, 1), numbers `start` and on of the stream `seed`."""
    return (_words(start, count, seed) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def permutation(count: int, seed: int) -> np.ndarray:
    """Return the numbers 0 .. count-1 in an order drawn from `seed`, [count] int64."""
    return np.argsort(_words(0, count, seed), kind="stable").astype(np.int64)


def sample(total: int, wanted: int | None, seed: int, *, shuffle: bool = True) -> np.ndarray:
    """Return the row numbers that `#n` takes.

    Args:
        total: rows there are.
        wanted: n, or None for all rows in their order. More than there are: every row as often
            as n allows, and the rest drawn.
        seed: of the draw.
        shuffle: draw at random; otherwise the first n.
    """
    if wanted is None:
        return np.arange(total, dtype=np.int64)
    order = permutation(total, seed) if shuffle else np.arange(total, dtype=np.int64)
    whole, rest = divmod(wanted, total)
    return np.concatenate([*([order] * whole), order[:rest]])


def split(total: int, ratio: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return row numbers to train on and to hold out, both ascending.

    Args:
        total: rows there are.
        ratio: the share to hold out, at least one row when above 0.
        seed: of the draw.

    Raises:
        ConfigError: the ratio is not in [0, 1).
        DataError: too few rows to hold one out and keep one.
    """
    if not 0 <= ratio < 1:
        raise ConfigError(f"--split_dataset_ratio {ratio}: expected a share in [0, 1).")
    if ratio == 0:
        return np.arange(total, dtype=np.int64), np.empty(0, dtype=np.int64)
    if total < 2:
        raise DataError(
            f"--split_dataset_ratio {ratio}: {total} row cannot be split; give --val_dataset."
        )
    held = min(max(1, round(total * ratio)), total - 1)
    order = permutation(total, seed)
    return np.sort(order[held:]), np.sort(order[:held])


def concatenated(sizes: Sequence[int]) -> np.ndarray:
    """Return [rows, 2] int64 (source, row) of sources joined end to end."""
    source = np.repeat(np.arange(len(sizes), dtype=np.int64), sizes)
    row = np.concatenate([np.arange(size, dtype=np.int64) for size in sizes] or [source])
    return np.stack([source, row], axis=1)


def check_probabilities(probabilities: Sequence[float], num_sources: int) -> None:
    """Raise ConfigError unless there is one positive probability a source and they sum to 1."""
    shown = " ".join(map(str, probabilities))
    if len(probabilities) != num_sources:
        raise ConfigError(
            f"--interleave_prob {shown}: {len(probabilities)} numbers for {num_sources} data "
            "sets; give one for each."
        )
    if min(probabilities) <= 0 or abs(sum(probabilities) - 1) > 1e-6:
        raise ConfigError(f"--interleave_prob {shown}: expected numbers above 0 that sum to 1.")


def interleaved(
    sizes: Sequence[int], probabilities: Sequence[float], seed: int, stopping: Stopping
) -> np.ndarray:
    """Return [rows, 2] int64 (source, row) of sources drawn from in turn.

    Each draw picks a source by its probability and takes that source's next row.

    Args:
        sizes: rows of each source, all above 0.
        probabilities: one a source, summing to 1.
        seed: of the draws.
        stopping: "first_exhausted" ends with the last row of the first source to run out;
            "all_exhausted" when every source has given each row once, shorter ones starting over.
    """
    check_probabilities(probabilities, len(sizes))
    enough = any if stopping == "first_exhausted" else all
    bounds = np.cumsum(probabilities)[:-1]
    blocks: list[np.ndarray] = []
    counts = np.zeros(len(sizes), dtype=np.int64)
    while not enough(counts >= sizes):
        block = uniforms(_DRAWS, seed, start=_DRAWS * len(blocks))
        blocks.append(np.searchsorted(bounds, block, side="right"))
        counts += np.bincount(blocks[-1], minlength=len(sizes))
    drawn = np.concatenate(blocks)
    ends = [
        int(np.flatnonzero(drawn == source)[size - 1])
        for source, size in enumerate(sizes)
        if counts[source] >= size
    ]
    drawn = drawn[: (min(ends) if stopping == "first_exhausted" else max(ends)) + 1]
    row = np.empty_like(drawn)
    for source, size in enumerate(sizes):
        taken = drawn == source
        row[taken] = np.arange(int(taken.sum())) % size
    return np.stack([drawn, row], axis=1)


def shuffled_stream(items: Iterable[T], buffer_size: int, seed: int) -> Iterator[T]:
    """Yield `items` in an order mixed within a buffer: each one replaces a random held one."""
    generator = random.Random(seed)
    held: list[T] = []
    for item in items:
        if len(held) < buffer_size:
            held.append(item)
            continue
        place = int(generator.random() * buffer_size)
        yield held[place]
        held[place] = item
    while held:
        place = int(generator.random() * len(held))
        held[place], held[-1] = held[-1], held[place]
        yield held.pop()


def stream_interleaved(
    openers: Sequence[Callable[[], Iterator[T]]],
    probabilities: Sequence[float],
    seed: int,
    stopping: Stopping,
) -> Iterator[T]:
    """Yield items of streams drawn from in turn; the same order as `interleaved` gives.

    Args:
        openers: each call starts its stream anew.
        probabilities: one a stream, summing to 1.
        seed: of the draws.
        stopping: as for `interleaved`.
    """
    check_probabilities(probabilities, len(openers))
    bounds = np.cumsum(probabilities)[:-1]
    streams = [_Ahead(opener) for opener in openers]
    start = 0
    while True:
        block = uniforms(_DRAWS, seed, start=start)
        start += _DRAWS
        for source in np.searchsorted(bounds, block, side="right"):
            yield streams[source].take()
            done = [stream.exhausted for stream in streams]
            if all(done) or (stopping == "first_exhausted" and any(done)):
                return


class _Ahead(Iterator[T]):
    """A stream that knows after each item whether that was its last, and then starts over."""

    def __init__(self, opener: Callable[[], Iterator[T]]) -> None:
        self._opener = opener
        self._stream = opener()
        self._held = [next(self._stream)]
        self.exhausted = False

    def __next__(self) -> T:
        return self.take()

    def take(self) -> T:
        """Return the next item."""
        item = self._held.pop()
        try:
            self._held.append(next(self._stream))
        except StopIteration:
            self.exhausted = True
            self._stream = self._opener()
            self._held.append(next(self._stream))
        return item
