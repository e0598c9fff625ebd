"""From what `--dataset` names to the rows behind it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from swiftrl.core.errors import DataError
from swiftrl.data import hub, readers
from swiftrl.data.llamafactory import INFO_NAME, Entry, entry_for_file, load_entry, load_info
from swiftrl.data.rows import BadRow, Origin, RawRow, Record, RowError
from swiftrl.data.spec import DatasetSpec, looks_like_file

__all__ = ["DatasetSpec", "Origin", "RawRow", "Source", "iter_rows", "preflight", "resolve"]

_BLOCK = 1 << 22
_SPLITS = ("train", "training", "validation", "valid", "val", "dev", "eval", "test", "heldout")


@dataclass(frozen=True, slots=True)
class Source:
    """One file, or one split of a hub data set. Picklable; opened where it is read.

    Attributes:
        name: how messages call it.
        path: the file, or None for a hub data set.
        entry: LLaMA-Factory's description of its columns, if there is one.
        hub_split: (hub, id, subset, split), or None for a file.
        streaming: hub rows come over the network as needed.
    """

    name: str
    path: Path | None = None
    entry: Entry | None = None
    hub_split: tuple[str, str, str | None, str] | None = None
    streaming: bool = False

    def records(self) -> Iterator[Record]:
        """Yield the records in order, undecoded."""
        if self.path is not None:
            return readers.read_records(self.path, self.name)
        assert self.hub_split is not None
        return hub.split_records(hub.open_split(*self.hub_split, streaming=self.streaming))

    def count(self) -> int:
        """Return the number of records."""
        if self.path is not None:
            return readers.count_records(self.path, self.name)
        assert self.hub_split is not None
        return len(hub.open_split(*self.hub_split))

    def fingerprint(self) -> str:
        """Return a hash of the contents and of how they are read, for caches."""
        reading = self.entry and self.entry.reading
        digest = hashlib.sha256(repr((reading, self.hub_split)).encode())
        for file in [self.path] if self.path is not None else self._hub_files():
            digest.update(file.suffix.encode())
            with file.open("rb") as opened:
                while block := opened.read(_BLOCK):
                    digest.update(block)
        return digest.hexdigest()

    def _hub_files(self) -> list[Path]:
        assert self.hub_split is not None
        return [Path(file["filename"]) for file in hub.open_split(*self.hub_split).cache_files]

    def decode(self, record: Record) -> RawRow:
        """Return a record's columns.

        Raises:
            RowError: it holds none.
        """
        origin = Origin(self.name, record.line)
        try:
            values = readers.decode(record)
            return RawRow(origin, self.entry.apply(values) if self.entry else values)
        except BadRow as error:
            raise RowError(origin, str(error)) from None


def resolve(
    spec: DatasetSpec,
    *,
    use_hf: bool = False,
    dataset_info: str | None = None,
    streaming: bool = False,
) -> tuple[list[Source], int | None]:
    """Return the sources that a spec names, and how many rows to take of them together.

    Args:
        spec: what `--dataset` says.
        use_hf: hub ids without a prefix are Hugging Face's, else ModelScope's.
        dataset_info: a `dataset_info.json` in which names are looked up first.
        streaming: for hub data sets.

    Raises:
        DataError: the names lead to nothing readable.
    """
    if spec.kind == "builtin":
        return [_builtin(spec.name, split) for split in spec.subsets or ("train",)], spec.sample
    if dataset_info is not None and spec.kind == "hub" and spec.hub is None:
        info = Path(dataset_info).expanduser()
        file = info / INFO_NAME if info.is_dir() else info
        if not file.is_file() or spec.name in (load_info(file) or {}):
            return _entry_sources(load_entry(file, spec.name), spec, use_hf, streaming)
    if spec.kind == "path":
        return _path_sources(spec, use_hf, streaming)
    site = spec.hub or ("hf" if use_hf else "ms")
    named = spec.subsets or (None,)
    return [_hub_source(site, spec.name, name, "train", streaming) for name in named], spec.sample


def iter_rows(
    spec: DatasetSpec,
    *,
    use_hf: bool = False,
    dataset_info: str | None = None,
    streaming: bool = False,
) -> Iterator[RawRow]:
    """Yield every row a spec names, in the files' order; `#n` is not applied here.

    Raises:
        DataError: a file cannot be read, or a row is broken (RowError, with its place).
    """
    sources, _ = resolve(spec, use_hf=use_hf, dataset_info=dataset_info, streaming=streaming)
    for source in sources:
        for record in source.records():
            yield source.decode(record)


def preflight(
    names: Sequence[str], *, use_hf: bool = False, dataset_info: str | None = None
) -> None:
    """Open every local file that `names` lead to and read its first record.

    Cheap enough to run before a model is loaded or a run folder made. Hub ids are left alone.

    Raises:
        DataError: a name leads nowhere, or a file is empty, binary or of an unknown type.
    """
    for name in names:
        sources, _ = resolve(DatasetSpec.parse(name), use_hf=use_hf, dataset_info=dataset_info)
        for source in sources:
            if source.path is not None:
                next(source.records())


def _builtin(name: str, split: str) -> Source:
    from swiftrl.data.builtin.load import path

    shown = f"builtin:{name}" if split == "train" else f"builtin:{name}:{split}"
    return Source(shown, Path(path(name, split)))


def _hub_source(
    site: str,
    name: str,
    subset: str | None,
    split: str,
    streaming: bool,
    entry: Entry | None = None,
) -> Source:
    shown = f"{site}::{name}" + (f":{subset}" if subset else "")
    return Source(shown, None, entry, (site, name, subset, split), streaming)


def _entry_sources(
    entry: Entry, spec: DatasetSpec, use_hf: bool, streaming: bool
) -> tuple[list[Source], int | None]:
    sample = spec.sample if spec.sample is not None else entry.num_samples
    if entry.file_name is None:
        site = spec.hub or ("hf" if use_hf else "ms")
        site = site if site in entry.hubs else next(iter(entry.hubs))
        source = _hub_source(site, entry.hubs[site], entry.subset, entry.split, streaming, entry)
        return [source], sample
    path = entry.folder / entry.file_name
    if not path.exists():
        raise DataError(
            f"{entry.folder / INFO_NAME}: {entry.name!r} names the file {entry.file_name}, which "
            "does not exist there."
        )
    files = _files_of(path, ()) if path.is_dir() else [path]
    return [Source(str(file), file, entry) for file in files], sample


def _path_sources(
    spec: DatasetSpec, use_hf: bool, streaming: bool
) -> tuple[list[Source], int | None]:
    path = Path(spec.name)
    info = path / INFO_NAME if path.is_dir() else path
    described = load_info(info) if info.name == INFO_NAME and info.is_file() else None
    if described is not None:
        if not spec.subsets:
            raise DataError(
                f"--dataset {spec}: name the data set, {spec.name}:NAME; {info} has "
                f"{', '.join(list(described)[:10])}{', ...' if len(described) > 10 else ''}."
            )
        groups = [
            _entry_sources(load_entry(info, name), spec, use_hf, streaming) for name in spec.subsets
        ]
        sources = [source for group, _ in groups for source in group]
        return sources, groups[0][1] if len(groups) == 1 else spec.sample
    if path.is_dir():
        return [Source(str(file), file) for file in _files_of(path, spec.subsets)], spec.sample
    if spec.subsets:
        raise DataError(f"--dataset {spec}: a single file has no subsets.")
    return [Source(str(path), path, entry_for_file(path))], spec.sample


def _files_of(folder: Path, splits: tuple[str, ...]) -> list[Path]:
    """Return a folder's data files; of files named by split, the training ones by default."""
    files = sorted(
        file
        for file in folder.rglob("*")
        if _is_data(file) and not any(part.startswith(".") for part in _inner(file, folder))
    )
    if not files:
        raise DataError(
            f"{folder}: the folder holds no data files ({', '.join(readers.SUFFIXES)})."
        )
    by_split: dict[str | None, list[Path]] = {}
    for file in files:
        by_split.setdefault(_split_of(file, folder), []).append(file)
    wanted = splits or (("train",) if "train" in by_split else ())
    missing = [split for split in wanted if split not in by_split]
    if missing:
        known = ", ".join(sorted(split for split in by_split if split)) or "none"
        raise DataError(f"{folder}: no files of the split {missing[0]!r}; splits there: {known}.")
    return [file for split in wanted for file in by_split[split]] if wanted else files


def _is_data(file: Path) -> bool:
    if not file.is_file() or file.name in (INFO_NAME, "state.json", "dataset_dict.json"):
        return False
    return looks_like_file(file.name.removesuffix(".gz"))


def _inner(file: Path, folder: Path) -> tuple[str, ...]:
    return file.relative_to(folder).parts


def _split_of(file: Path, folder: Path) -> str | None:
    words = [word for part in _inner(file, folder) for word in re.split(r"[-_.]", part.lower())]
    name = next((word for word in words if word in _SPLITS), None)
    return "train" if name == "training" else name
