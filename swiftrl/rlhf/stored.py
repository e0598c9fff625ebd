"""Tensors of a checkpoint, read from its files when they are asked for, whole or by rows.

They stand whole in one file, or in parts: file r of W holds the rows that process r of W held
(`swiftrl.rlhf.parallel.shards`), and "shapes" in its metadata says how large each tensor is.
torch.distributed.checkpoint divides tensors in the same way, but its index is a pickle, which is
never loaded here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

__all__ = ["Part", "StoredTensors", "part_files", "rows_of", "shapes_of", "write_part"]

Part = tuple[Tensor, torch.Size]
"""A process's rows of a tensor, and the shape of the whole."""


def rows_of(rows: int, number: int, parts: int) -> slice:
    """Return which rows of a tensor the part `number` of `parts` holds."""
    size = -(-rows // parts)
    return slice(min(number * size, rows), min((number + 1) * size, rows))


def part_files(folder: Path) -> list[Path]:
    """Return the files of parts in a folder, in order."""
    return sorted(folder.glob("part-*-of-*.safetensors"))


def write_part(folder: Path, parts: Mapping[str, Part], number: int, count: int) -> None:
    """Write what process `number` of `count` holds; single numbers stand in the first file."""
    held = {
        name: tensor.detach().contiguous().cpu()
        for name, (tensor, shape) in parts.items()
        if shape or not number
    }
    shapes = {name: list(parts[name][1]) for name in held}
    path = folder / f"part-{number + 1:05d}-of-{count:05d}.safetensors"
    save_file(held, path, metadata={"shapes": json.dumps(shapes)})


def shapes_of(tensors: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    """Return the shapes of whole tensors; those in files are not read."""
    if isinstance(tensors, StoredTensors):
        return {name: tensors.shape(name) for name in tensors}
    return {name: value.shape for name, value in tensors.items()}


class StoredTensors(Mapping[str, Tensor]):
    """Tensors by name.

    Args:
        files: one with whole tensors, or all parts in order.
        prefix: of the names in the files that are meant; it is left out.
    """

    def __init__(self, files: Sequence[Path], prefix: str = "") -> None:
        self._prefix = prefix
        self._files: list[Any] = [safe_open(path, framework="pt") for path in files]
        self._in_parts = bool((self._files[0].metadata() or {}).get("shapes"))
        self._shapes: dict[str, torch.Size] = {}
        first = self._files[0]
        known = json.loads(first.metadata()["shapes"]) if self._in_parts else {}
        for name in first.keys():  # noqa: SIM118 - no mapping
            if name.startswith(prefix):
                shape = known[name] if self._in_parts else first.get_slice(name).get_shape()
                self._shapes[name.removeprefix(prefix)] = torch.Size(shape)

    def __iter__(self) -> Iterator[str]:
        return iter(self._shapes)

    def __len__(self) -> int:
        return len(self._shapes)

    def __getitem__(self, name: str) -> Tensor:
        return self.rows(name, slice(None))

    def shape(self, name: str) -> torch.Size:
        """Return the shape of a whole tensor; nothing is read."""
        return self._shapes[name]

    def rows(self, name: str, wanted: slice) -> Tensor:
        """Return some rows of a tensor (all of a single number); only these are read."""
        shape, key = self._shapes[name], self._prefix + name
        if not shape:
            return self._files[0].get_tensor(key)
        start, stop, _ = wanted.indices(shape[0])
        found = []
        for number, file in enumerate(self._files):
            held = rows_of(shape[0], number, len(self._files))
            first, last = max(start, held.start), min(stop, held.stop)
            if first < last:
                found.append(file.get_slice(key)[first - held.start : last - held.start])
        if not found:
            return self._files[0].get_slice(key)[0:0]
        return torch.cat(found) if len(found) > 1 else found[0]
