"""Where the built-in data sets are: `builtin:preferences`, `builtin:preferences:heldout`."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from swiftrl.core.errors import DataError
from swiftrl.core.registry import did_you_mean

__all__ = ["SPLITS", "names", "path"]

SPLITS = ("train", "heldout")


def _root() -> Path:
    return Path(str(files("swiftrl.data"))) / "builtin"


def names() -> list[str]:
    """Return the built-in sets' names, sorted."""
    return sorted(file.parent.name for file in _root().glob("*/train.jsonl"))


def path(name: str, split: str = "train") -> Path:
    """Return the jsonl file of a built-in set.

    Args:
        name: one of `names()`.
        split: "train" or "heldout".

    Raises:
        DataError: no such set or split.
    """
    known = names()
    if name not in known:
        raise DataError(
            f"builtin:{name}: unknown data set; built in: {', '.join(known)}."
            + did_you_mean(name, known)
        )
    if split not in SPLITS:
        raise DataError(
            f"builtin:{name}:{split}: unknown split; expected {' or '.join(SPLITS)}."
            + did_you_mean(split, SPLITS)
        )
    return _root() / name / f"{split}.jsonl"
