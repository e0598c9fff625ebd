"""Keys and values of replies on their way: a row each, from the first token on.

Shapes: S rows, C columns (tokens), K key-value heads, D head width, n tokens.
"""

from __future__ import annotations

from torch import Tensor

__all__ = ["SlotCache"]

_COLUMNS = 256
_ROWS = 8
"""The cache grows by multiples of these."""


class SlotCache:
    """Rows of keys and values for every layer; grows as rows and tokens are needed."""

    def __init__(self) -> None:
        self.rows = self.columns = 0
        self._layers: dict[int, tuple[Tensor, Tensor]] = {}

    def reserve(self, rows: int, columns: int) -> None:
        """Have room for `rows` rows of `columns` tokens; what is held stays."""
        self.rows, self.columns = self.planned(rows, columns)
        for layer, held in self._layers.items():
            self._layers[layer] = (self._grown(held[0]), self._grown(held[1]))

    def planned(self, rows: int, columns: int) -> tuple[int, int]:
        """Return the size that `reserve` would leave."""
        if rows > self.rows:
            rows = -(-rows // _ROWS) * _ROWS
        if columns > self.columns:
            columns = -(-columns // _COLUMNS) * _COLUMNS
        return max(self.rows, rows), max(self.columns, columns)

    def shrink(self, rows: int) -> None:
        """Give back the memory of all but the first `rows` rows."""
        self.rows = min(self.rows, rows)
        for layer, held in self._layers.items():
            self._layers[layer] = (held[0][:rows].clone(), held[1][:rows].clone())

    def clear(self) -> None:
        """Give all memory back."""
        self.rows = self.columns = 0
        self._layers.clear()

    @property
    def bytes_per_token(self) -> int:
        """Memory of one token in all layers; 0 before anything was held."""
        return sum(
            part.shape[1] * part.shape[3] * part.element_size()
            for held in self._layers.values()
            for part in held
        )

    def held(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Return a layer's keys and values [S, K, C, D], made like `key` and `value` if new."""
        if layer not in self._layers:
            # Zeros, not garbage: what is masked is multiplied by 0, and 0 times nan is nan.
            self._layers[layer] = (self._new(key), self._new(value))
        return self._layers[layer]

    def copy(self, source: SlotCache, row: int, to: int, length: int) -> None:
        """Copy the first `length` tokens of a row of `source` into row `to` of this one."""
        for layer, (key, value) in source._layers.items():
            own = self.held(layer, key, value)
            for mine, theirs in zip(own, (key, value), strict=True):
                mine[to, :, :length] = theirs[row, :, :length]

    def _new(self, like: Tensor) -> Tensor:
        return like.new_zeros(self.rows, like.shape[1], self.columns, like.shape[3])

    def _grown(self, part: Tensor) -> Tensor:
        if part.shape[0] >= self.rows and part.shape[2] >= self.columns:
            return part
        grown = self._new(part)
        grown[: part.shape[0], :, : part.shape[2]] = part
        return grown
