"""Encoded rows on disk, mapped into memory: millions of rows cost no Python objects.

A store is a folder of flat little-endian arrays and `store.json`, which names the settings it was
made with and the size and checksum of each file.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from swiftrl.core.errors import DataError
from swiftrl.core.files import write_json
from swiftrl.core.messages import Part
from swiftrl.data.encoded_row import EncodedRow
from swiftrl.data.media_bytes import from_bytes, to_bytes
from swiftrl.data.rows import Origin
from swiftrl.templates.encoding import Encoded

__all__ = ["Chunk", "EncodedRow", "Store", "StoreWriter"]

_META = "store.json"
_ARRAYS = {
    "token_ids": np.dtype("<i4"),
    "loss_weights": np.dtype("<f4"),
    "sequence_lengths": np.dtype("<i4"),
    "skipped_turns": np.dtype("<i4"),
    "truncated": np.dtype("u1"),
    "row_sequences": np.dtype("<i4"),
    "row_records": np.dtype("<i8"),
    "row_sources": np.dtype("<i4"),
    "row_lines": np.dtype("<i8"),
    "row_tokens": np.dtype("<i8"),
    "row_media": np.dtype("<i8"),
    "media": np.dtype("u1"),
    "row_labels": np.dtype("<i4"),
    "step_labels": np.dtype("<f4"),
}
_WHEREABOUTS = ("row_records", "row_sources", "row_lines")
"""Arrays that say where rows came from, not what they hold."""

_COLUMN = np.dtype("<f8")
_BLOCK = 1 << 22


@dataclass(frozen=True, slots=True)
class Chunk:
    """Encoded rows of one source, as arrays: what worker processes send back."""

    arrays: Mapping[str, np.ndarray]
    columns: Mapping[str, np.ndarray]

    @classmethod
    def of(cls, rows: Sequence[EncodedRow], records: Sequence[int], source: int) -> Chunk:
        """Lay `rows` out.

        Args:
            rows: encoded rows.
            records: for each row, the number of the record it comes from, ascending.
            source: which source they come from.
        """
        sequences = [sequence for row in rows for sequence in row.sequences]
        media = [to_bytes(row.media) for row in rows]
        lists: dict[str, Any] = {
            "sequence_lengths": [len(item) for item in sequences],
            "skipped_turns": [item.skipped_turns for item in sequences],
            "truncated": [item.truncated for item in sequences],
            "row_sequences": [len(row.sequences) for row in rows],
            "row_records": records,
            "row_sources": [source] * len(rows),
            "row_lines": [row.origin.line for row in rows],
            "row_tokens": [row.num_tokens for row in rows],
            "row_media": [len(data) for data in media],
            "row_labels": [len(row.step_labels) for row in rows],
            "step_labels": [label for row in rows for label in row.step_labels],
        }
        arrays = {name: np.asarray(values, dtype=_ARRAYS[name]) for name, values in lists.items()}
        for name in ("token_ids", "loss_weights"):
            pieces = [getattr(item, name) for item in sequences]
            joined = np.concatenate(pieces) if pieces else np.empty(0)
            arrays[name] = joined.astype(_ARRAYS[name])
        arrays["media"] = np.frombuffer(b"".join(media), dtype=_ARRAYS["media"])
        names = sorted(rows[0].columns) if rows else []
        columns = {
            name: np.asarray([row.columns[name] for row in rows], dtype=_COLUMN) for name in names
        }
        return cls(arrays, columns)

    @property
    def num_rows(self) -> int:
        """Number of rows."""
        return len(self.arrays["row_lines"])


class StoreWriter:
    """Appends chunks to a folder; `finish` makes it a store."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.num_rows = 0
        self._files: dict[str, tuple[IO[bytes], list[int]]] = {}
        self._columns: list[str] | None = None
        for name in _ARRAYS:
            self._open(name)

    def _open(self, name: str) -> None:
        self._files[name] = ((self.folder / name).open("wb"), [0, 0])

    def append(self, chunk: Chunk) -> None:
        """Add rows."""
        if not chunk.num_rows:
            return
        if self._columns is None:
            self._columns = sorted(chunk.columns)
            for name in self._columns:
                self._open(f"column.{name}")
        assert sorted(chunk.columns) == self._columns
        for name, array in chunk.arrays.items():
            self._write(name, array)
        for name, array in chunk.columns.items():
            self._write(f"column.{name}", array)
        self.num_rows += chunk.num_rows

    def _write(self, name: str, array: np.ndarray) -> None:
        file, size_and_sum = self._files[name]
        data = np.ascontiguousarray(array).tobytes()
        file.write(data)
        size_and_sum[0] += len(data)
        size_and_sum[1] = zlib.crc32(data, size_and_sum[1])

    def finish(self, key: str, sources: Sequence[str], notes: Mapping[str, Any]) -> None:
        """Close the files and write `store.json`."""
        self.close()
        files = {name: size_and_sum for name, (_, size_and_sum) in self._files.items()}
        write_json(
            self.folder / _META,
            {
                "key": key,
                "sources": list(sources),
                "columns": self._columns or [],
                "files": files,
                "notes": dict(notes),
            },
        )

    def close(self) -> None:
        """Close the files."""
        for file, _ in self._files.values():
            file.close()


class Store:
    """Encoded rows, read through memory maps. Picklable: it opens anew in another process.

    Attributes:
        folder: where it lies.
        sources: names of the files its rows come from.
        notes: what was counted while encoding.
    """

    def __init__(self, folder: Path, key: str, *, verify: bool = True) -> None:
        """Open a store.

        Args:
            folder: as written by `StoreWriter`.
            key: the settings it must have been made with.
            verify: compare the checksums of all files.

        Raises:
            DataError: it is damaged, cut short or of other settings.
        """
        self.folder, self.key = folder, key
        meta = self._meta()
        for name, (size, checksum) in meta["files"].items():
            path = folder / name
            if not path.is_file() or path.stat().st_size != size:
                raise DataError(f"{path}: is missing or has the wrong size.")
            if verify and _checksum(path) != checksum:
                raise DataError(f"{path}: the contents have changed.")
        self.sources: list[str] = meta["sources"]
        self.notes: dict[str, Any] = meta["notes"]
        self._checksums = {n: part for n, part in meta["files"].items() if n not in _WHEREABOUTS}
        self._open(meta["columns"])

    def _meta(self) -> dict[str, Any]:
        path = self.folder / _META
        try:
            meta = json.loads(path.read_text(encoding="utf-8"))
            kept = {name: meta[name] for name in ("key", "sources", "columns", "files", "notes")}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path}: cannot be read ({error}).") from None
        if kept["key"] != self.key:
            raise DataError(f"{path}: was made with other settings.")
        return kept

    def _open(self, columns: list[str]) -> None:
        arrays = {name: self._map(name, dtype) for name, dtype in _ARRAYS.items()}
        self._columns = {name: self._map(f"column.{name}", _COLUMN) for name in columns}
        self._arrays = arrays
        self._sequence_ends = np.cumsum(arrays["sequence_lengths"], dtype=np.int64)
        self._row_ends = np.cumsum(arrays["row_sequences"], dtype=np.int64)
        self._label_ends = np.cumsum(arrays["row_labels"], dtype=np.int64)
        self._media_ends = np.cumsum(arrays["row_media"], dtype=np.int64)

    def _map(self, name: str, dtype: np.dtype) -> np.ndarray:
        path = self.folder / name
        if path.stat().st_size == 0:
            return np.empty(0, dtype=dtype)
        return np.memmap(path, dtype=dtype, mode="r")

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopened, (self.folder, self.key)

    def __len__(self) -> int:
        return len(self._row_ends)

    @property
    def column_names(self) -> tuple[str, ...]:
        """Names of the numbers that every row has."""
        return tuple(self._columns)

    def column(self, name: str) -> np.ndarray:
        """Return the [rows] numbers called `name`."""
        return self._columns[name]

    def __getitem__(self, row: int) -> EncodedRow:
        if not 0 <= row < len(self):
            raise IndexError(f"row {row} of {len(self)}")
        last = int(self._row_ends[row])
        first = last - int(self._arrays["row_sequences"][row])
        source = self.sources[int(self._arrays["row_sources"][row])]
        media = self._media(row)
        return EncodedRow(
            tuple(self._sequence(number, media) for number in range(first, last)),
            {name: float(values[row]) for name, values in self._columns.items()},
            Origin(source, int(self._arrays["row_lines"][row])),
            self._step_labels(row),
        )

    def _step_labels(self, row: int) -> tuple[float, ...]:
        end = int(self._label_ends[row])
        return tuple(self._arrays["step_labels"][end - int(self._arrays["row_labels"][row]) : end])

    def _media(self, row: int) -> tuple[Part, ...]:
        end = int(self._media_ends[row])
        start = end - int(self._arrays["row_media"][row])
        return from_bytes(self._arrays["media"][start:end].tobytes())

    def _sequence(self, number: int, media: tuple[Part, ...]) -> Encoded:
        end = int(self._sequence_ends[number])
        span = slice(end - int(self._arrays["sequence_lengths"][number]), end)
        return Encoded(
            np.array(self._arrays["token_ids"][span]),
            np.array(self._arrays["loss_weights"][span]),
            bool(self._arrays["truncated"][number]),
            int(self._arrays["skipped_turns"][number]),
            media,
        )

    @property
    def contents(self) -> str:
        """Sizes and checksums of what the rows hold, wherever they came from."""
        return json.dumps(self._checksums, sort_keys=True)

    @property
    def row_tokens(self) -> np.ndarray:
        """[rows] int64, tokens of each row that run through the model."""
        return self._arrays["row_tokens"]

    @property
    def row_records(self) -> np.ndarray:
        """[rows] int64, ascending: the record that each row comes from, over all sources."""
        return self._arrays["row_records"]

    @property
    def num_truncated(self) -> int:
        """How many sequences were cut."""
        return int(np.count_nonzero(self._arrays["truncated"]))

    @property
    def sequence_lengths(self) -> np.ndarray:
        """[sequences] int32."""
        return self._arrays["sequence_lengths"]


def _reopened(folder: Path, key: str) -> Store:
    return Store(folder, key, verify=False)


def _checksum(path: Path) -> int:
    value = 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            value = zlib.crc32(block, value)
    return value
