"""Keys and values of replies that are over, for prompts that begin as they did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from swiftrl.engine.cache import SlotCache
from swiftrl.engine.reply import common_prefix

__all__ = ["Prefixes"]


@dataclass(slots=True)
class _Entry:
    ids: Any
    adapter: str | None
    used: int


class Prefixes:
    """The last few replies; the one unused longest makes way.

    Args:
        cache: where rows come from and go to.
        most: rows kept.
    """

    def __init__(self, cache: SlotCache, most: int) -> None:
        self._cache, self._most = cache, most
        self._kept = SlotCache()
        self._entries: list[_Entry] = []
        self._clock = 0

    @property
    def rows(self) -> int:
        """Rows that take memory."""
        return self._kept.rows

    def clear(self) -> None:
        """Forget all."""
        self._entries.clear()
        self._kept.clear()

    def keep(self, row: int, ids: Sequence[int], adapter: str | None) -> None:
        """Keep a row of the cache that holds `ids`."""
        if not self._most:
            return
        held = np.asarray(ids, dtype=np.int64)
        at = next(
            (
                place
                for place, entry in enumerate(self._entries)
                if entry.adapter == adapter and common_prefix(entry.ids, held) == len(entry.ids)
            ),
            None,
        )
        self._clock += 1
        entry = _Entry(held, adapter, self._clock)
        if at is None and len(self._entries) < self._most:
            at = len(self._entries)
            self._entries.append(entry)
        elif at is None:
            at = min(range(len(self._entries)), key=lambda place: self._entries[place].used)
        self._entries[at] = entry
        self._kept.reserve(len(self._entries), len(held))
        self._kept.copy(self._cache, row, at, len(held))

    def find(self, ids: Any, adapter: str | None) -> tuple[int, int]:
        """Return how many tokens are held of a prompt, and where."""
        return max(
            (
                (common_prefix(entry.ids, ids), place)
                for place, entry in enumerate(self._entries)
                if entry.adapter == adapter
            ),
            default=(0, -1),
        )

    def copy(self, place: int, row: int, length: int) -> None:
        """Copy the beginning of what is held into a row of the cache."""
        self._clock += 1
        self._entries[place].used = self._clock
        self._cache.copy(self._kept, place, row, length)
