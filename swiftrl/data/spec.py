"""The syntax of `--dataset`.

`[hf::|ms::]NAME[:subset,subset][#n]`. NAME is a file (jsonl json csv tsv txt parquet arrow), a
folder of such files, a folder or file of LLaMA-Factory's with `:name` of its data set,
`builtin:NAME[:split]`, or a hub id. `#n` takes n rows: drawn with the run's seed, or the first n
when --dataset_shuffle is false or the data are streamed (`swiftrl.data.mix.sample`).
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from swiftrl.core.errors import DataError
from swiftrl.core.registry import did_you_mean
from swiftrl.data import readers

__all__ = ["DatasetSpec", "looks_like_file"]

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_SAMPLE = re.compile(r"#(\d+)$")


@dataclass(frozen=True, slots=True)
class DatasetSpec:
    """One entry of `--dataset`, parsed.

    Attributes:
        kind: "path" for what lies on this machine, "builtin", or "hub".
        name: path, built-in name or hub id.
        subsets: configurations of a hub data set, splits of a folder or built-in data set, or
            names in a `dataset_info.json`.
        sample: rows to take, or None for all.
        hub: "hf" or "ms" where the text says so.
    """

    kind: Literal["path", "builtin", "hub"]
    name: str
    subsets: tuple[str, ...] = ()
    sample: int | None = None
    hub: Literal["hf", "ms"] | None = None

    @classmethod
    def parse(cls, text: str) -> DatasetSpec:
        """Parse one entry; a path that exists as it stands wins over every other reading.

        Raises:
            DataError: the text is none of the forms, or names a file that does not exist.
        """
        home = os.path.expanduser(text)
        if os.path.exists(home):
            return cls("path", home)
        rest, sample = _split_sample(text)
        site, rest = _split_hub(rest)
        if site is None:
            if rest.startswith("builtin:"):
                name, subsets = _split_subsets(rest.removeprefix("builtin:"), text)
                return cls("builtin", name, subsets, sample)
            path, subsets = _split_path(rest)
            if path is not None:
                return cls("path", path, subsets, sample)
        name, subsets = _split_subsets(rest, text)
        if not _HUB_ID.fullmatch(name) or looks_like_file(name):
            raise DataError(_no_such(text, name))
        return cls("hub", name, subsets, sample, site)

    def __str__(self) -> str:
        front = {"builtin": "builtin:", "path": "", "hub": f"{self.hub}::" if self.hub else ""}
        subsets = f":{','.join(self.subsets)}" if self.subsets else ""
        sample = "" if self.sample is None else f"#{self.sample}"
        return f"{front[self.kind]}{self.name}{subsets}{sample}"


def _split_sample(text: str) -> tuple[str, int | None]:
    match = _SAMPLE.search(text)
    if match is None:
        if "#" in text:
            end = text.rsplit("#", 1)[1]
            raise DataError(f"--dataset {text}: '#{end}' is no number of rows; expected e.g. #500.")
        return text, None
    count = int(match.group(1))
    if count == 0:
        raise DataError(f"--dataset {text}: #0 takes no rows; give a number above 0.")
    return text[: match.start()], count


def _split_hub(text: str) -> tuple[Literal["hf", "ms"] | None, str]:
    site, mark, rest = text.partition("::")
    if not mark:
        return None, text
    lowered = site.lower()
    if lowered == "hf":
        return "hf", rest
    if lowered == "ms":
        return "ms", rest
    raise DataError(f"--dataset {text}: unknown hub {site!r}; expected hf:: or ms::.")


def _split_subsets(text: str, whole: str) -> tuple[str, tuple[str, ...]]:
    name, mark, listed = text.partition(":")
    subsets = tuple(part.strip() for part in re.split(r"[,/]", listed)) if mark else ()
    if not name or not all(subsets):
        raise DataError(
            f"--dataset {whole!r}: expected a file, a folder, builtin:NAME or a hub id, then "
            "perhaps :subset,subset and #n."
        )
    return name, subsets


def _split_path(text: str) -> tuple[str | None, tuple[str, ...]]:
    """Read `text` as a path that exists, with subsets behind the last colon."""
    path = os.path.expanduser(text)
    if os.path.exists(path):
        return path, ()
    front, _, listed = text.rpartition(":")
    path = os.path.expanduser(front)
    if listed and os.path.exists(path):
        return path, tuple(part.strip() for part in listed.split(","))
    return None, ()


def looks_like_file(name: str) -> bool:
    """Whether a name ends like a data file's."""
    return Path(name).suffix.lower() in (*readers.SUFFIXES, ".gz")


def _no_such(text: str, name: str) -> str:
    folder = Path(os.path.expanduser(name)).parent
    there = os.path.isdir(folder)
    hint = did_you_mean(Path(name).name, sorted(os.listdir(folder))) if there else ""
    where = "" if there else f" (the folder {folder} does not exist either)"
    return f"{text}: no such file or folder{where}.{hint}"
