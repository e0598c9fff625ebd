"""Files of rows, read as records: where each starts, and its bytes or its columns.

A record's JSON text is decoded later (`decode`), so that worker processes share that work and one
broken row does not end the reading of its file. What breaks a whole file is a DataError here.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from swiftrl.core.errors import DataError
from swiftrl.data.arrow_files import count_parquet, read_arrow, read_parquet
from swiftrl.data.draft import shown
from swiftrl.data.rows import BadRow, Record

__all__ = ["SUFFIXES", "Record", "count_records", "decode", "read_records"]

_BOM = b"\xef\xbb\xbf"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_SNIFFED = 4096


def decode(record: Record) -> dict[str, Any]:
    """Return a record's columns, null ones left out; BadRow when it holds no object."""
    data = record.data
    if isinstance(data, BadRow):
        raise data
    if isinstance(data, bytes):
        data = _decode_json(data)
    if not isinstance(data, Mapping):
        raise BadRow(f"the row is {shown(data)}; expected an object with named columns.")
    return {str(name): value for name, value in data.items() if value is not None}


def _decode_json(data: bytes) -> Any:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadRow(
            f"byte {error.start + 1} of the line is 0x{data[error.start]:02x}, which is not UTF-8; "
            "convert the file, e.g. iconv -f GB18030 -t UTF-8."
        ) from None
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise BadRow(
            f"not JSON: {error.msg} at column {error.pos + 1}; found {shown(text.strip())}."
        ) from None
    except RecursionError:
        raise BadRow("the row is nested too deeply to be read.") from None


def read_records(path: Path, name: str) -> Iterator[Record]:
    """Yield the records of a file, by its suffix.

    Args:
        path: a .jsonl, .json, .csv, .tsv, .txt, .parquet or .arrow file; text may be gzipped.
        name: the file as messages call it.

    Raises:
        DataError: the file is empty, binary, of an unknown type or cannot be read.
    """
    try:
        count = 0
        for count, record in enumerate(_reader(path, name)(path, name), start=1):  # noqa: B007
            yield record
    except (OSError, EOFError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(f"{name}: cannot be read: {reason}.") from error
    if not count:
        raise DataError(f"{name}: the file has no rows.")


def count_records(path: Path, name: str) -> int:
    """Return how many records the file has, without decoding them where that can be avoided."""
    if path.suffix == ".parquet":
        return count_parquet(path, name)
    return sum(1 for _ in read_records(path, name))


def _reader(path: Path, name: str) -> Callable[[Path, str], Iterator[Record]]:
    suffixes = [suffix for suffix in path.suffixes if suffix != ".gz"]
    reader = SUFFIXES.get(suffixes[-1].lower() if suffixes else "")
    if reader is None:
        raise DataError(
            f"{name}: unknown type of file; expected one of {', '.join(SUFFIXES)} (text files may "
            "end in .gz too)."
        )
    return reader


@contextlib.contextmanager
def _opened(path: Path, name: str) -> Iterator[IO[bytes]]:
    """Open a file at its first character, refusing what is no UTF-8 text."""
    with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as opened:
        file: Any = opened
        start = file.read(_SNIFFED)
        if not start:
            raise DataError(f"{name}: the file is empty.")
        if start.startswith(_UTF16):
            raise DataError(f"{name}:1: the file is UTF-16; save it as UTF-8.")
        if b"\x00" in start:
            raise DataError(f"{name}:1: the file is binary; expected text in UTF-8.")
        file.seek(len(_BOM) if start.startswith(_BOM) else 0)
        yield file


def _read_json(path: Path, name: str) -> Iterator[Record]:
    """One array of objects, or an object a line: the first character says which."""
    with _opened(path, name) as file:
        place = file.tell()
        first = b""
        while not first.strip() and (piece := file.read(_SNIFFED)):
            first = piece
        file.seek(place)
        whole = first.lstrip().startswith(b"[")
        yield from _array_records(file, name) if whole else _line_records(file, name)


def _line_records(file: IO[bytes], name: str) -> Iterator[Record]:
    for line, data in enumerate(file, start=1):
        data = data.strip()
        if line == 1 and data == b"{":
            raise DataError(
                f"{name}:1: the file is one object over several lines; expected an array of "
                "rows, [{...}, {...}], or one row a line."
            )
        if data:
            yield Record(line, data)


def _array_records(file: IO[bytes], name: str) -> Iterator[Record]:
    try:
        text = file.read().decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{name}: byte {error.start + 1} is not UTF-8; convert the file.") from None
    decoder = json.JSONDecoder()
    place, number = _skip_space(text, text.index("[") + 1), 0
    while text[place : place + 1] != "]":
        number += 1
        try:
            value, place = decoder.raw_decode(text, place)
        except json.JSONDecodeError as error:
            raise _array_error(name, number, error) from None
        except RecursionError:
            raise DataError(f"{name}:{number}: nested too deeply to be read.") from None
        columns = value if isinstance(value, dict) else BadRow(_not_a_row(value))
        yield Record(number, columns)
        place = _skip_space(text, place)
        if text[place : place + 1] == ",":
            place = _skip_space(text, place + 1)
        elif text[place : place + 1] != "]":
            error = json.JSONDecodeError("Expecting ',' or ']'", text, place)
            raise _array_error(name, number, error)
    if text[place + 1 :].strip():
        line = text.count("\n", 0, place) + 1
        raise DataError(f"{name}: there is more text behind the array that ends on line {line}.")


def _not_a_row(value: Any) -> str:
    return f"the row is {shown(value)}; expected an object with named columns."


def _array_error(name: str, number: int, error: json.JSONDecodeError) -> DataError:
    ends = " The file ends here: it may have been cut short." if error.pos >= len(error.doc) else ""
    return DataError(
        f"{name}:{number}: row {number} of the array is not JSON: {error.msg} on line "
        f"{error.lineno}, column {error.colno}.{ends}"
    )


def _skip_space(text: str, place: int) -> int:
    while place < len(text) and text[place] in " \t\r\n":
        place += 1
    return place


def _read_table(path: Path, name: str) -> Iterator[Record]:
    """CSV and TSV with a header; empty cells are absent columns."""
    csv.field_size_limit(2**31 - 1)
    tabs = ".tsv" in path.suffixes
    with _opened(path, name) as binary:
        text = io.TextIOWrapper(binary, encoding="utf-8", newline="")
        rows = csv.reader(text, delimiter="\t" if tabs else ",", strict=True)
        before = 0
        header: list[str] | None = None
        try:
            for cells in rows:
                line, before = before + 1, rows.line_num
                if not cells:
                    continue
                if header is None:
                    header = _header(cells, name)
                else:
                    yield _table_record(line, header, cells)
        except UnicodeDecodeError as error:
            raise DataError(
                f"{name}:{before + 1}: not UTF-8 ({error.reason}) at or below this line; convert "
                "the file, e.g. iconv -f GB18030 -t UTF-8."
            ) from None
        except csv.Error as error:
            raise DataError(f"{name}:{before + 1}: not readable as a table: {error}.") from None


def _header(cells: list[str], name: str) -> list[str]:
    twice = sorted({cell for cell in cells if cells.count(cell) > 1})
    if twice:
        raise DataError(f"{name}:1: the header names the column {twice[0]!r} twice.")
    return cells


def _table_record(line: int, header: list[str], cells: list[str]) -> Record:
    if len(cells) != len(header):
        reason = f"the row has {len(cells)} cells, the header {len(header)}; quote cells that hold"
        return Record(line, BadRow(f"{reason} the separator."))
    return Record(line, {key: cell for key, cell in zip(header, cells, strict=True) if cell})


def _read_text(path: Path, name: str) -> Iterator[Record]:
    """One document a line."""
    with _opened(path, name) as file:
        for line, data in enumerate(file, start=1):
            if not data.strip():
                continue
            try:
                yield Record(line, {"text": data.rstrip(b"\r\n").decode("utf-8")})
            except UnicodeDecodeError as error:
                yield Record(line, BadRow(f"byte {error.start + 1} of the line is not UTF-8."))


SUFFIXES: dict[str, Callable[[Path, str], Iterator[Record]]] = {
    ".jsonl": _read_json,
    ".json": _read_json,
    ".csv": _read_table,
    ".tsv": _read_table,
    ".txt": _read_text,
    ".parquet": read_parquet,
    ".arrow": read_arrow,
}
