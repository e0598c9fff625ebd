"""`swiftrl merge-lora`: an adapter folded into its base, as one plain model folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from swiftrl.cli.command import Command
from swiftrl.cli.swift_flags import why_refused
from swiftrl.cli.target_folder import check_target
from swiftrl.core import log
from swiftrl.core.config import Settings, setting
from swiftrl.core.errors import ConfigError
from swiftrl.models.config import ModelConfig

if TYPE_CHECKING:
    from peft import PeftModel

__all__ = ["COMMAND", "MergeConfig", "write_merged"]


@dataclass(frozen=True)
class MergeConfig:
    """Merging."""

    output_dir: str | None = setting(
        None, "Folder for the merged model. Unset: the adapter's folder with -merged behind."
    )
    dequantise: bool = setting(
        False,
        "Where the base holds quantised weights (GPTQ, AWQ): merge into the weights that these "
        "stand for, in --torch_dtype.",
    )
    exist_ok: bool = setting(False, "Replace the folder if it exists.")
    max_shard_size: str = setting("5GB", "Weights are split into files of at most this size.")


def run(settings: Settings) -> int:
    """Merge, compare the logits before and after, and write the folder."""
    merging = settings[MergeConfig]
    return write_merged(
        settings[ModelConfig],
        merging.output_dir,
        exist_ok=merging.exist_ok,
        max_shard_size=merging.max_shard_size,
        dequantise=merging.dequantise,
    )


def write_merged(
    config: ModelConfig,
    output_dir: str | None,
    *,
    exist_ok: bool,
    max_shard_size: str,
    dequantise: bool = False,
) -> int:
    """Write a model with its adapters folded in; return the exit code.

    Args:
        config: model and adapters.
        output_dir: the folder; unset, the adapter's with -merged behind.
        exist_ok: replace the folder if it exists.
        max_shard_size: size at which weights are split into files.
        dequantise: of a quantised base, merge into the weights that it stands for.
    """
    if not config.adapters:
        raise ConfigError("--adapters is missing: the folder that training saved, checkpoint-N.")
    source = Path(config.adapters[0])
    target = Path(output_dir or f"{str(source).rstrip('/')}-merged")
    check_target(target, exist_ok)
    from swiftrl.cli.loading import find_model, load
    from swiftrl.models.lora import merge
    from swiftrl.models.save import save_model

    loaded = load(config, find_model(config), as_stored=True)
    merged = merge(cast("PeftModel", loaded.model), unpack=dequantise)
    save_model(
        target,
        merged,
        loaded.tokenizer,
        processor=loaded.processor,
        source=loaded.path,
        max_shard_size=max_shard_size,
    )
    log.info(f"Merged model: {target}")
    log.info(f"Next: swiftrl infer --model {target}")
    return 0


def groups(argv: Sequence[str]) -> list[type]:
    """Return the settings groups."""
    return [ModelConfig, MergeConfig]


COMMAND = Command(
    summary="Fold LoRA adapters into their base model.",
    description="Fold LoRA adapters into their base model and write a plain model folder. "
    "--model may be left out where the adapter names its base.",
    groups=groups,
    run=run,
    refuse=lambda flag, argv: why_refused(flag),
)
