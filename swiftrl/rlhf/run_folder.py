"""The folder of a run, and whether a run may go on from a checkpoint."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from swiftrl.core import log
from swiftrl.core.errors import ConfigError, ModelError, SwiftRLError
from swiftrl.core.files import disk_errors
from swiftrl.rlhf.config import TrainConfig

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

if TYPE_CHECKING:
    from swiftrl.rlhf.distributed import Processes

__all__ = [
    "RunFolder",
    "changed_settings",
    "discard_if_unused",
    "prepare_run_folder",
    "release_run_folder",
]

HARMLESS = frozenset(
    [
        "output_dir",
        "add_version",
        "resume_from_checkpoint",
        "logging_steps",
        "report_to",
        "run_name",
        "eval_strategy",
        "eval_steps",
        "eval_on_start",
        "save_strategy",
        "save_steps",
        "save_total_limit",
        "save_only_model",
        "load_best_model_at_end",
        "metric_for_best_model",
        "greater_is_better",
        "early_stop_interval",
        "per_device_train_batch_size",
        "per_device_eval_batch_size",
        "gradient_accumulation_steps",
        "steps_per_generation",
        "generation_batch_size",
        "gradient_checkpointing",
        "layout",
        "sequence_parallel_size",
        "attn_impl",
        "ddp_timeout",
        "fsdp",
        "deepspeed",
        "ddp_start_timeout",
        "deterministic",
        "use_cpu",
        "num_train_epochs",
        "max_steps",
        "val_dataset",
        "dataset_num_proc",
        "load_from_cache_file",
        "cache_dir",
        "precompute_ref_log_probs",
        "hub_token",
        "use_hf",
        "external_plugins",
    ]
)
"""Settings that may change when a run is resumed; any other would make it another run."""

LOCK = ".lock"
SETTINGS = "args.json"
_held: dict[Path, IO[bytes]] = {}
"""Lock files of runs that this process writes."""

_VERSION = re.compile(r"v(\d+)-\d{8}-\d{6}")


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Where a run writes.

    Attributes:
        path: the folder; it exists and can be written.
        resume_from: the whole checkpoint to go on from; None for a new run.
    """

    path: Path
    resume_from: Path | None = None


def prepare_run_folder(
    config: TrainConfig,
    processes: Processes | None = None,
    settings: Mapping[str, Any] | None = None,
) -> RunFolder:
    """Make or find the run's folder, before anything heavy is loaded; the same in every process.

    A resumed run goes on in the folder of its checkpoint. Until `release_run_folder`, or the end
    of the process, no other process gets the same folder.

    Args:
        config: where to write, and what to resume from.
        processes: those of the run; None if there is one.
        settings: all of this run's, to be compared with those of the checkpoint.

    Raises:
        ConfigError: the folder is not empty, cannot be written or is in use, or the settings have
            changed.
        ModelError: there is no whole checkpoint where one was asked for.
    """
    outcome: RunFolder | SwiftRLError | None = None
    if processes is None or processes.is_main:
        try:
            outcome = _prepare(config, settings)
            _lock(outcome.path)
        except SwiftRLError as error:
            outcome = error
    if processes is not None:
        outcome = processes.share(outcome)
    if isinstance(outcome, SwiftRLError):
        raise outcome
    assert outcome is not None
    return outcome


def discard_if_unused(folder: RunFolder) -> None:
    """Remove a new run's folder that holds nothing but its settings: the run never began."""
    if folder.resume_from is not None:
        return
    if {item.name for item in folder.path.iterdir()} <= {LOCK, SETTINGS}:
        release_run_folder(folder.path)
        for item in folder.path.iterdir():
            item.unlink()
        folder.path.rmdir()


def release_run_folder(path: Path) -> None:
    """Let other processes have the folder."""
    file = _held.pop(path.absolute(), None)
    if file is not None:
        file.close()


def _lock(folder: Path) -> None:
    """Keep other processes out; the operating system lets go when this one ends, however it does.

    Raises:
        ConfigError: another process has it: two runs would destroy each other's checkpoints.
    """
    if fcntl is None or folder.absolute() in _held:
        return
    with disk_errors(folder):
        file = (folder / LOCK).open("wb")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise ConfigError(
            f"{folder}: another process is training in this folder. Wait for it or stop it first "
            "(a killed launcher can leave its workers running), or use another folder."
        ) from None
    except OSError:
        file.close()  # some network file systems have no locks
        return
    _held[folder.absolute()] = file


def _prepare(config: TrainConfig, settings: Mapping[str, Any] | None) -> RunFolder:
    if config.resume_from_checkpoint is not None:
        path = Path(config.resume_from_checkpoint)
        if _ended_before_saving(path):
            log.warn(f"{path}: the run ended before its first checkpoint; it begins anew.")
            if settings is not None and (path / SETTINGS).is_file():
                _refuse_changes(path, settings)
            _check_writable(path)
            return RunFolder(path)
        checkpoint = _find_checkpoint(path)
        if settings is not None:
            _refuse_changes(checkpoint, settings)
        _check_writable(checkpoint.parent)
        return RunFolder(checkpoint.parent, checkpoint)
    output = Path(config.output_dir)
    if not config.add_version and output.is_dir() and _contents(output):
        raise ConfigError(
            f"--output_dir {output}: the folder is not empty. Go on with what is there by "
            f"--resume_from_checkpoint {output}, choose another folder, or let every run make its "
            "own (--add_version true)."
        )
    _check_writable(output)
    return RunFolder(_new_version(output) if config.add_version else output)


def _ended_before_saving(folder: Path) -> bool:
    """Say whether a run began in this folder and was stopped before it saved anything."""
    from swiftrl.rlhf.checkpoint import list_checkpoints

    return (folder / LOCK).is_file() and not list_checkpoints(folder)


def _find_checkpoint(path: Path) -> Path:
    from swiftrl.rlhf import checkpoint

    if not path.is_dir():
        raise ModelError(
            f"--resume_from_checkpoint {path}: no such folder; expected a checkpoint-N folder or "
            "the folder of a run."
        )
    if path.name.startswith("checkpoint-") or (path / checkpoint.MANIFEST).is_file():
        checkpoint.check_whole(path)
        return path
    found = checkpoint.newest_whole(path)
    if found is not None:
        return found
    runs = sorted(child.name for child in path.iterdir() if checkpoint.list_checkpoints(child))
    hint = f" It holds these runs; name one: {', '.join(runs)}." if runs else ""
    raise ModelError(
        f"--resume_from_checkpoint {path}: there is no whole checkpoint-N in it.{hint}"
    )


def _refuse_changes(checkpoint: Path, settings: Mapping[str, Any]) -> None:
    from swiftrl.rlhf.checkpoint import read_settings

    changes = changed_settings(read_settings(checkpoint), settings)
    if changes:
        listed = "\n".join(f"  --{name}: {old!r} -> {new!r}" for name, (old, new) in changes)
        raise ConfigError(
            f"--resume_from_checkpoint {checkpoint}: these settings differ from the run's:\n"
            f"{listed}\nGive them their old values to resume exactly, or leave out "
            "--resume_from_checkpoint and start a new run from the checkpoint's weights "
            f"(--adapters {checkpoint} for LoRA, --model {checkpoint} for full training)."
        )


def changed_settings(
    old: Mapping[str, Any], new: Mapping[str, Any]
) -> list[tuple[str, tuple[Any, Any]]]:
    """Return (name, (old, new)) of the settings whose change makes it another run.

    Settings that only one side knows are left alone: they come with another version of swiftrl.
    """
    return [
        (name, (old[name], new[name]))
        for name in new
        if name in old and name not in HARMLESS and _plain(old[name]) != _plain(new[name])
    ]


def _plain(value: Any) -> Any:
    """Return a value as JSON gives it back."""
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return value


def _contents(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.name != LOCK]


def _check_writable(folder: Path) -> None:
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()


def _new_version(output: Path) -> Path:
    numbers = [int(m[1]) for child in output.iterdir() if (m := _VERSION.fullmatch(child.name))]
    number = max(numbers, default=-1) + 1
    while True:
        path = output / f"v{number}-{time.strftime('%Y%m%d-%H%M%S')}"
        try:
            path.mkdir()
        except FileExistsError:
            number += 1
        else:
            return path
