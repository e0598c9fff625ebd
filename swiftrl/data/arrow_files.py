"""Parquet and Arrow files, and Arrow batches of any origin, as records."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from swiftrl.core.errors import DataError
from swiftrl.data.rows import Record

__all__ = ["arrow_records", "count_parquet", "read_arrow", "read_parquet"]

_BATCH_ROWS = 512


def count_parquet(path: Path, name: str) -> int:
    """Return the number of rows that the file's footer states."""
    import pyarrow.parquet as parquet

    with _ArrowErrors(name):
        return parquet.ParquetFile(path).metadata.num_rows


def read_parquet(path: Path, name: str) -> Iterator[Record]:
    """Yield the rows of a Parquet file."""
    import pyarrow.parquet as parquet

    with _ArrowErrors(name):
        batches = parquet.ParquetFile(path).iter_batches(batch_size=_BATCH_ROWS)
        yield from arrow_records(batches)


def read_arrow(path: Path, name: str) -> Iterator[Record]:
    """Yield the rows of an Arrow file, of the kind that `datasets` caches or Arrow's own."""
    import pyarrow

    with _ArrowErrors(name), pyarrow.memory_map(str(path)) as mapped:
        try:
            reader = pyarrow.ipc.open_file(mapped)
            batches = (reader.get_batch(number) for number in range(reader.num_record_batches))
        except pyarrow.ArrowInvalid:
            batches = iter(pyarrow.ipc.open_stream(mapped))
        yield from arrow_records(batches)


def arrow_records(batches: Iterable[Any]) -> Iterator[Record]:
    """Yield the rows of record batches or tables, numbered from 1."""
    number = 0
    for batch in batches:
        for start in range(0, batch.num_rows, _BATCH_ROWS):
            for values in batch.slice(start, _BATCH_ROWS).to_pylist():
                number += 1
                yield Record(number, _without_padding(values))


def _without_padding(value: Any) -> Any:
    """Drop the nulls with which Arrow fills fields that an object does not have."""
    if isinstance(value, dict):
        return {key: _without_padding(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_padding(item) for item in value]
    return value


class _ArrowErrors:
    """Turn pyarrow's refusals into a DataError."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        import pyarrow

        if isinstance(error, pyarrow.ArrowInvalid | pyarrow.ArrowNotImplementedError):
            reason = str(error).splitlines()[0]
            raise DataError(
                f"{self.name}: not a whole Parquet or Arrow file ({reason}); it may be of another "
                "type or cut short."
            ) from None
