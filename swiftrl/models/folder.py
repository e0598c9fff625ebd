"""What a model folder holds, checked before any weight is read."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

from swiftrl.core.errors import ModelError

__all__ = ["ADAPTER_CONFIG", "check_model_folder", "read_json", "safetensors_header"]

ADAPTER_CONFIG = "adapter_config.json"
_SINGLE = "model.safetensors"
_INDEX = "model.safetensors.index.json"
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
_LFS_POINTER = b"version https://git-lfs"
_MAX_HEADER_BYTES = 100_000_000  # the limit of the safetensors library itself


def check_model_folder(folder: Path) -> dict[str, Any]:
    """Return the parsed config.json of a folder that holds a whole, safe, loadable model.

    Raises:
        ModelError: config or weights are absent, cut short, or stored as pickles; or the folder
            holds an adapter.
    """
    if not (folder / "config.json").is_file():
        raise ModelError(_no_config(folder))
    config = read_json(folder / "config.json")
    if not config.get("architectures") and not config.get("model_type"):
        raise ModelError(
            f'{folder}/config.json names neither "architectures" nor "model_type"; it is not '
            "the configuration of a transformers model."
        )
    _check_weights(folder)
    return config


def read_json(path: Path) -> dict[str, Any]:
    """Return the object stored in a JSON file of a model folder.

    Raises:
        ModelError: the file is not JSON, or not an object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ModelError(
            f"{path}: not valid JSON ({error}). The file is damaged; copy or download it again."
        ) from error
    if not isinstance(value, dict):
        raise ModelError(f"{path}: expected a JSON object, found {type(value).__name__}.")
    return value


def _no_config(folder: Path) -> str:
    names = sorted(item.name for item in folder.iterdir())
    if ADAPTER_CONFIG in names:
        base = read_json(folder / ADAPTER_CONFIG).get("base_model_name_or_path") or "BASE_MODEL"
        return (
            f"{folder} holds an adapter, not a model. Give its base as --model and the adapter as "
            f"--adapters: --model {base} --adapters {folder}"
        )
    inside = sorted(path.parent.name for path in folder.glob("*/config.json"))
    if inside:
        return f"{folder} has no config.json, but these folders in it do: {', '.join(inside)}."
    adapters = sorted(path.parent.name for path in folder.glob(f"*/{ADAPTER_CONFIG}"))
    if adapters:
        return (
            f"{folder} has no config.json; adapters are in {', '.join(adapters)}. Give one of "
            "them as --adapters, and their base as --model."
        )
    if any(name.endswith(".gguf") for name in names):
        return (
            f"{folder} holds GGUF files, made for llama.cpp, and no config.json. Use the original "
            "model that they were made from."
        )
    held = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "") if names else "nothing"
    return (
        f"{folder} is no model folder: it has no config.json (it holds {held}). Expected "
        "config.json, *.safetensors and the tokenizer's files."
    )


def _check_weights(folder: Path) -> None:
    if (folder / _INDEX).is_file():
        _check_shards(folder)
    elif (folder / _SINGLE).exists():
        safetensors_header(folder / _SINGLE)
    elif pickles := sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern)):
        raise ModelError(
            f"{folder} holds its weights only as pickle files ({', '.join(pickles[:3])}), which "
            "can run code when they are read, so they are refused. Convert them where you trust "
            "them: load the folder with transformers' from_pretrained and write it again with "
            "save_pretrained, which stores safetensors."
        )
    else:
        raise ModelError(
            f"{folder} has a config.json but no weights: expected {_SINGLE}, or {_INDEX} with its "
            "shards."
        )


def _check_shards(folder: Path) -> None:
    placed = read_json(folder / _INDEX).get("weight_map")
    if not isinstance(placed, dict) or not placed:
        raise ModelError(f'{folder / _INDEX}: has no "weight_map"; the file is damaged.')
    shards = sorted(set(placed.values()))
    missing = [name for name in shards if not (folder / name).exists()]
    if missing:
        raise ModelError(
            f"{folder}: {len(missing)} of {len(shards)} weight files that {_INDEX} names are "
            f"missing: {', '.join(missing[:4])}. Copy or download the model again."
        )
    held = {name: safetensors_header(folder / name) for name in shards}
    for tensor, shard in placed.items():
        if tensor not in held[shard]:
            raise ModelError(
                f"{folder / shard}: lacks the tensor {tensor!r} that {_INDEX} places there. The "
                "files come from different versions; copy or download the model again."
            )


def safetensors_header(path: Path) -> dict[str, Any]:
    """Return a safetensors file's header (name to dtype, shape and offsets), checking its size.

    The format: 8 bytes with the header's length, little-endian; the header in JSON; the data.

    Raises:
        ModelError: the file is cut short, a git-lfs pointer, or no safetensors file.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(24)
        if start.startswith(_LFS_POINTER):
            raise ModelError(f"{path}: is a git-lfs pointer, not the weights. Run: git lfs pull")
        length = struct.unpack("<Q", start[:8])[0] if len(start) >= 8 else 0
        if not 2 <= length <= _MAX_HEADER_BYTES or start[8:9] != b"{":
            raise ModelError(f"{path}: is not a safetensors file ({size} bytes).")
        file.seek(8)
        text = file.read(length)
    if len(text) < length:
        raise ModelError(_cut_short(path, size, 8 + length))
    try:
        header = json.loads(text)
        end = max((item["data_offsets"][1] for name, item in header.items() if name[:2] != "__"))
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise ModelError(f"{path}: the header of this safetensors file is damaged.") from error
    if size < 8 + length + end:
        raise ModelError(_cut_short(path, size, 8 + length + end))
    return header


def _cut_short(path: Path, size: int, expected: int) -> str:
    return (
        f"{path}: is cut short: {size} bytes of {expected}. Copy or download the file again (a "
        "full disk or a broken transfer leaves such files)."
    )
