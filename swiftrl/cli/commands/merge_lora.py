"""`swiftrl merge-lora`: an adapter folded into its base, as one plain model folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from swiftrl.cli.command import Command
from swiftrl.cli.swift_flags import why_refused
from swiftrl.core import log
from swiftrl.core.config import Settings, setting
from swiftrl.core.errors import ConfigError
from swiftrl.models.config import ModelConfig

if TYPE_CHECKING:
    from peft import PeftModel

__all__ = ["COMMAND", "MergeConfig"]


@dataclass(frozen=True)
class MergeConfig:
    """Merging."""

    output_dir: str | None = setting(
        None, "Folder for the merged model. Unset: the adapter's folder with -merged behind."
    )
    exist_ok: bool = setting(False, "Replace the folder if it exists.")
    max_shard_size: str = setting("5GB", "Weights are split into files of at most this size.")


def run(settings: Settings) -> int:
    """Merge, compare the logits before and after, and write the folder."""
    config, merging = settings[ModelConfig], settings[MergeConfig]
    if not config.adapters:
        raise ConfigError("--adapters is missing: the folder that training saved, checkpoint-N.")
    source = Path(config.adapters[0])
    target = Path(merging.output_dir or f"{str(source).rstrip('/')}-merged")
    _check_target(target, merging.exist_ok)
    from swiftrl.cli.loading import find_model, load
    from swiftrl.models.lora import merge
    from swiftrl.models.save import save_model

    loaded = load(config, find_model(config), as_stored=True)
    merged = merge(cast("PeftModel", loaded.model))
    save_model(
        target,
        merged,
        loaded.tokenizer,
        processor=loaded.processor,
        source=loaded.path,
        max_shard_size=merging.max_shard_size,
    )
    log.info(f"Merged model: {target}")
    log.info(f"Next: swiftrl infer --model {target}")
    return 0


def groups(argv: Sequence[str]) -> list[type]:
    """Return the settings groups."""
    return [ModelConfig, MergeConfig]


def _check_target(target: Path, exist_ok: bool) -> None:
    """Refuse a folder that holds something, unless it is a model that may be replaced."""
    if target.is_file():
        raise ConfigError(f"--output_dir {target}: is a file; expected a folder.")
    if not target.is_dir() or not any(target.iterdir()):
        return
    if not exist_ok:
        raise ConfigError(
            f"--output_dir {target}: exists and is not empty. Choose another folder, or "
            "--exist_ok true to replace it."
        )
    if not (target / "config.json").is_file():
        raise ConfigError(
            f"--output_dir {target}: is not empty and holds no model (no config.json), so it is "
            "not replaced. Choose another folder."
        )


COMMAND = Command(
    summary="Fold LoRA adapters into their base model.",
    description="Fold LoRA adapters into their base model and write a plain model folder. "
    "--model may be left out where the adapter names its base.",
    groups=groups,
    run=run,
    refuse=lambda flag, argv: why_refused(flag),
)
