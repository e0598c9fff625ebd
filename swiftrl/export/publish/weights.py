"""A model folder looked over before it goes anywhere, without loading it."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from swiftrl.core.errors import ModelError

__all__ = ["check_folder", "headers_of", "read_json"]

_INDEX = "model.safetensors.index.json"


def read_json(path: Path) -> dict[str, Any]:
    """Return a JSON file's object; an empty one if the file is absent.

    Raises:
        ModelError: it is no JSON object.
    """
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{path}: is not JSON ({error}).") from None
    if not isinstance(value, dict):
        raise ModelError(f"{path}: expected a JSON object.")
    return value


def headers_of(path: Path) -> dict[str, dict[str, Any]]:
    """Return name -> {"dtype", "shape", "data_offsets"} of a safetensors file's tensors.

    Raises:
        ModelError: it is cut off or no such file.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(8)
        length = struct.unpack("<Q", head)[0] if len(head) == 8 else size
        if length > size - 8:
            raise ModelError(f"{path}: is no safetensors file, or is cut off.")
        try:
            header: dict[str, Any] = json.loads(file.read(length))
        except ValueError:
            raise ModelError(f"{path}: its header is not readable.") from None
    header.pop("__metadata__", None)
    ends = [entry["data_offsets"][1] for entry in header.values()]
    if max(ends, default=0) != size - 8 - length:
        raise ModelError(
            f"{path}: has {size} bytes; its header says {max(ends, default=0) + 8 + length}. It "
            "is cut off."
        )
    return header


def check_folder(folder: Path, *, adapter: bool) -> None:
    """Refuse a folder whose files do not make a model, or an adapter.

    Raises:
        ModelError: a file is absent, cut off, or tensors of the index are not where it says.
    """
    wanted = "adapter_config.json" if adapter else "config.json"
    if not read_json(folder / wanted):
        raise ModelError(f"{folder}: holds no {wanted}.")
    if adapter:
        path = folder / "adapter_model.safetensors"
        if not path.is_file():
            raise ModelError(f"{folder}: holds no {path.name}.")
        headers_of(path)
        return
    found = {path.name: set(headers_of(path)) for path in sorted(folder.glob("*.safetensors"))}
    if not found:
        raise ModelError(f"{folder}: holds no weights (*.safetensors).")
    _check_index(folder, found, read_json(folder / _INDEX).get("weight_map", {}))
    if not any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model",
                                                      "vocab.json", "tekken.json")):  # fmt: skip
        raise ModelError(f"{folder}: holds no tokenizer.")


def _check_index(folder: Path, found: Mapping[str, set[str]], index: Mapping[str, str]) -> None:
    for tensor, name in index.items():
        if tensor not in found.get(name, ()):
            raise ModelError(f"{folder}: {_INDEX} names {tensor} in {name}; it is not there.")
    if not index and len(found) > 1:
        raise ModelError(f"{folder}: has several files of weights and no {_INDEX}.")
