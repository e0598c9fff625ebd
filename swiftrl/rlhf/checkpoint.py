"""Checkpoints: folders that are whole or absent, and can prove it.

checkpoint-N/
config.json model.safetensors ...      the model for transformers, or
adapter_config.json adapter_model...   the adapter for PEFT; tokenizer, chat template
args.json                              the settings of the run
trainer/                               what resuming needs (not with --save_only_model)
trainable.safetensors                float32 masters by parameter name
optimizer.safetensors                "SLOT/parameter name"
reference.safetensors                of a reference that moves, by parameter name
part-R-of-W.safetensors              instead of these two: the rows that process R had of them
rollout.safetensors                  replies that are still trained on
state.json                           counters, algorithm, each process's random state
manifest.json                          every file's size and SHA-256, written last
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from swiftrl.core import log
from swiftrl.core.errors import ModelError
from swiftrl.core.files import atomic_directory, disk_errors
from swiftrl.rlhf.stored import StoredTensors, part_files

__all__ = [
    "Resumable",
    "check_whole",
    "checkpoint_path",
    "list_checkpoints",
    "newest_whole",
    "prune",
    "read_optimizer",
    "read_reference",
    "read_rollout",
    "read_settings",
    "read_state",
    "read_trainable",
    "remove_leftovers",
    "set_aside_later",
    "write_checkpoint",
]

MANIFEST = "manifest.json"
SETTINGS = "args.json"
STATE = "trainer/state.json"
TRAINABLE = "trainer/trainable.safetensors"
OPTIMIZER = "trainer/optimizer.safetensors"
REFERENCE = "trainer/reference.safetensors"
ROLLOUT = "trainer/rollout.safetensors"
FORMAT = 1
_NAME = re.compile(r"checkpoint-(\d+)")


@dataclass(frozen=True, slots=True)
class Resumable:
    """What a run needs, besides the model's files, to go on as if it had never stopped.

    Attributes:
        optimizer: its state, "SLOT/parameter name"; None where it is written in parts.
        state: ready for JSON.
        reference: weights of a reference that moves; None for others.
        rollout: replies that are still trained on; empty if there are none.
    """

    optimizer: Mapping[str, Tensor] | None
    state: Mapping[str, Any]
    reference: Mapping[str, Tensor] | None = None
    rollout: Mapping[str, Tensor] = field(default_factory=dict)


def checkpoint_path(run_folder: Path, step: int) -> Path:
    """Return where the checkpoint after `step` optimizer steps stands."""
    return run_folder / f"checkpoint-{step}"


def list_checkpoints(run_folder: Path) -> list[tuple[int, Path]]:
    """Return (step, folder) of a run's checkpoints, whole or not, oldest first."""
    found = []
    for path in run_folder.glob("checkpoint-*"):
        match = _NAME.fullmatch(path.name)
        if match and path.is_dir():
            found.append((int(match[1]), path))
    return sorted(found)


def write_checkpoint(
    folder: Path,
    *,
    save_model: Callable[[Path], None],
    settings: Mapping[str, Any],
    trainable: Mapping[str, Tensor] | None,
    resumable: Resumable | None,
    write_parts: Callable[[Path], None] | None = None,
) -> None:
    """Write a checkpoint so that `folder` is whole or as it was before.

    Args:
        folder: .../checkpoint-N.
        save_model: writes the model's files into the folder it is given.
        settings: written as args.json.
        trainable: float32 weights by parameter name, or None.
        resumable: None leaves out what resuming needs.
        write_parts: has every process write its part into the folder it is given.

    Raises:
        MachineError: no space, or a failing disk.
        ConfigError: no permission.
    """
    with atomic_directory(folder) as temporary, _plain_disk_errors():
        if write_parts is not None:
            (temporary / STATE).parent.mkdir()
            write_parts((temporary / STATE).parent)
        save_model(temporary)
        _write_json(temporary / SETTINGS, settings)
        if trainable is not None or resumable is not None:
            (temporary / STATE).parent.mkdir(exist_ok=True)
        if trainable is not None:
            save_file(_savable(trainable), temporary / TRAINABLE)
        if resumable is not None:
            if resumable.optimizer is not None:
                save_file(_savable(resumable.optimizer), temporary / OPTIMIZER)
            if resumable.reference is not None:
                save_file(_savable(resumable.reference), temporary / REFERENCE)
            if resumable.rollout:
                save_file(_savable(resumable.rollout), temporary / ROLLOUT)
            _write_json(temporary / STATE, resumable.state)
        files = sorted(path for path in temporary.rglob("*") if path.is_file())
        with ThreadPoolExecutor(max_workers=4) as pool:
            digests = list(pool.map(_sha256, files))
        entries = {
            path.relative_to(temporary).as_posix(): {"size": path.stat().st_size, "sha256": digest}
            for path, digest in zip(files, digests, strict=True)
        }
        _write_json(temporary / MANIFEST, {"format": FORMAT, "files": entries})


def problems(folder: Path, *, contents: bool = True) -> list[str]:
    """Return what is wrong with a checkpoint's files; nothing if it is whole.

    Args:
        folder: the checkpoint.
        contents: compare the files' SHA-256 too, not their sizes alone.
    """
    try:
        entries = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
    except FileNotFoundError:
        return [f"{MANIFEST} is missing"]
    except (ValueError, KeyError, TypeError):
        return [f"{MANIFEST} is damaged"]
    found = []
    sound = []
    for name, entry in entries.items():
        path = folder / name
        if not path.is_file():
            found.append(f"{name} is missing")
        elif path.stat().st_size != entry["size"]:
            found.append(f"{name} has {path.stat().st_size} bytes instead of {entry['size']}")
        else:
            sound.append((name, path, entry["sha256"]))
    if contents:
        with ThreadPoolExecutor(max_workers=4) as pool:
            digests = pool.map(_sha256, [path for _, path, _ in sound])
            found += [
                f"the contents of {name} have changed"
                for (name, _, expected), digest in zip(sound, digests, strict=True)
                if digest != expected
            ]
    return found


def check_whole(folder: Path) -> None:
    """Refuse a checkpoint that cannot be resumed from.

    Raises:
        ModelError: something is missing or damaged; the message says what.
    """
    wrong = problems(folder)
    if wrong:
        others = [str(path) for _, path in list_checkpoints(folder.parent) if path != folder]
        hint = f" Other checkpoints of the run: {', '.join(others)}." if others else ""
        raise ModelError(
            f"{folder}: not a whole checkpoint: {_some(wrong)}. Name the run's folder to resume "
            f"from its newest whole one, or start anew.{hint}"
        )
    if not (folder / STATE).is_file():
        raise ModelError(
            f"{folder}: saved with --save_only_model, so there is no optimizer state to resume "
            "from. Start a new run from its weights instead: --adapters (LoRA) or --model (full) "
            f"{folder}."
        )


def newest_whole(run_folder: Path) -> Path | None:
    """Return the newest checkpoint to resume from; a warning names each that is passed over."""
    for _, folder in reversed(list_checkpoints(run_folder)):
        wrong = problems(folder)
        if not wrong and (folder / STATE).is_file():
            return folder
        log.warn(
            f"{folder} is passed over: {_some(wrong) if wrong else 'saved with --save_only_model'}."
        )
    return None


def read_settings(folder: Path) -> dict[str, Any]:
    """Return the settings a checkpoint was made with."""
    return json.loads((folder / SETTINGS).read_text(encoding="utf-8"))


def read_state(folder: Path) -> dict[str, Any]:
    """Return the trainer's state, as it was given to `write_checkpoint`."""
    return json.loads((folder / STATE).read_text(encoding="utf-8"))


def read_trainable(folder: Path) -> StoredTensors:
    """Return the trained weights in float32, on the host."""
    return _stored(folder, TRAINABLE, "trainable/")


def read_optimizer(folder: Path) -> StoredTensors:
    """Return the optimizer's state, on the host."""
    return _stored(folder, OPTIMIZER, "optimizer/")


def read_reference(folder: Path) -> StoredTensors:
    """Return the weights of a reference that moves, on the host.

    Raises:
        ModelError: the checkpoint has none.
    """
    if not (folder / REFERENCE).is_file():
        raise ModelError(
            f"{folder}: has no {REFERENCE}: its run had no --sync_ref_model. Resume without it."
        )
    return StoredTensors([folder / REFERENCE])


def read_rollout(folder: Path) -> dict[str, Tensor] | None:
    """Return the replies that were still trained on, or None if there were none."""
    path = folder / ROLLOUT
    return load_file(path) if path.is_file() else None


def _stored(folder: Path, whole: str, prefix: str) -> StoredTensors:
    parts = part_files((folder / STATE).parent)
    return StoredTensors(parts, prefix) if parts else StoredTensors([folder / whole])


def prune(run_folder: Path, *, limit: int | None, keep: set[Path]) -> None:
    """Delete the oldest checkpoints beyond `limit`.

    Args:
        run_folder: their folder.
        limit: how many stay; None keeps all.
        keep: never deleted (the best and the last one).
    """
    if limit is None:
        return
    checkpoints = [path for _, path in list_checkpoints(run_folder)]
    spare = [path for path in checkpoints if path not in keep]
    excess = len(checkpoints) - max(limit, len(keep))
    for path in spare[: max(excess, 0)]:
        # Renamed first: a kill in between leaves no half checkpoint under a checkpoint's name.
        doomed = path.with_name(f".{path.name}.tmp-deleted")
        os.replace(path, doomed)
        shutil.rmtree(doomed, ignore_errors=True)


def remove_leftovers(run_folder: Path) -> None:
    """Delete what a kill left behind while a checkpoint was written or deleted."""
    for path in run_folder.glob(".checkpoint-*.tmp-*"):
        shutil.rmtree(path, ignore_errors=True)


def set_aside_later(run_folder: Path, step: int) -> Path | None:
    """Move checkpoints of steps after `step` into a folder of their own.

    They belong to a continuation that is given up: left in place, one of them would be taken for
    the newest of the run.

    Returns:
        the folder, or None if there were none.
    """
    later = [path for number, path in list_checkpoints(run_folder) if number > step]
    if not later:
        return None
    aside = run_folder / f"superseded-{time.strftime('%Y%m%d-%H%M%S')}"
    with disk_errors(aside):
        aside.mkdir(exist_ok=True)
        for path in later:
            os.replace(path, aside / path.name)
    return aside


def _some(wrong: list[str]) -> str:
    return "; ".join(wrong[:3]) + (f"; and {len(wrong) - 3} more" if len(wrong) > 3 else "")


def _savable(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().contiguous() for name, tensor in tensors.items()}


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


@contextlib.contextmanager
def _plain_disk_errors() -> Iterator[None]:
    """Give the file errors of tensor and tokenizer libraries their system error number back.

    Raises:
        OSError: the operating system refused.
    """
    try:
        yield
    except Exception as error:
        # Rust libraries raise types of their own, or none in particular.
        match = re.search(r"\(os error (\d+)\)", str(error))
        if match is None:
            raise
        number = int(match[1])
        raise OSError(number, os.strerror(number)) from error
