"""What `sft`, `pt` and `rlhf` share: settings in, a trained and saved model out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from swiftrl.cli.swift_flags import why_refused
from swiftrl.core.compat import check_installed
from swiftrl.core.config import Settings, options_of, setting
from swiftrl.core.errors import ConfigError
from swiftrl.core.parse import flag_values
from swiftrl.core.registry import load_plugin
from swiftrl.data.config import DataConfig
from swiftrl.models.config import ModelConfig, QuantLoadConfig, TunerConfig
from swiftrl.models.quantise import check_quantisation
from swiftrl.models.spread import spread_arguments
from swiftrl.rlhf.algorithm import Algorithm
from swiftrl.rlhf.config import ReferenceConfig, TrainConfig
from swiftrl.rlhf.parallel.config import ParallelConfig
from swiftrl.rlhf.parallel.fsdp_config import read_fsdp
from swiftrl.templates.config import TemplateConfig

__all__ = ["AlwaysConfig", "RunConfig", "check_training", "load_plugins", "refuse", "run_training",
           "training_groups"]  # fmt: skip


@dataclass(frozen=True)
class RunConfig:
    """Run."""

    external_plugins: list[str] = setting(
        [], "Python files that register your own algorithms and formats."
    )


@dataclass(frozen=True)
class AlwaysConfig:
    """Settings of swift that always hold here (accepted, nothing to choose)."""

    padding_free: bool = setting(True, "Batches never carry padding.", choices=(True,))
    lazy_tokenize: bool = setting(False, "Rows are encoded once, then cached.", choices=(False,))
    safe_serialization: bool = setting(True, "Weights are safetensors.", choices=(True,))
    template_backend: str = setting("jinja", "Templates run as Jinja.", choices=("jinja",))
    check_model: bool = setting(True, "Model files are always checked.", choices=(True,))


def load_plugins(argv: Sequence[str]) -> None:
    """Run the files of --external_plugins, so that what they register can be chosen."""
    for path in flag_values(argv, "external_plugins"):
        load_plugin(path)


def training_groups(*, reference: bool) -> list[type]:
    """Return the settings groups of a command that trains."""
    groups: list[type] = [
        ModelConfig,
        QuantLoadConfig,
        TunerConfig,
        DataConfig,
        TemplateConfig,
        TrainConfig,
        ParallelConfig,
    ]
    if reference:
        groups.append(ReferenceConfig)
    return [*groups, RunConfig, AlwaysConfig]


def refuse(flag: str, argv: Sequence[str]) -> str | None:
    """Name the algorithm that a flag belongs to, or swift's flag that is not served."""
    from swiftrl.cli.commands.rlhf import algorithms

    owners = [
        name
        for name, item in algorithms().items()
        if flag in options_of([item.Config, *item.more_settings])
    ]
    if owners or flag in options_of([ReferenceConfig]):
        return f"belongs to swiftrl rlhf --rlhf_type {' or '.join(owners or ['dpo'])}."
    return why_refused(flag)


def check_training(settings: Settings, algorithm: type[Algorithm[Any]]) -> Algorithm[Any]:
    """Return the algorithm with its settings, if all settings fit each other; torch is not loaded.

    Raises:
        SwiftRLError: what the user must know.
    """
    _check(settings)
    # Reading the algorithm's settings refuses what contradicts itself.
    built = algorithm(settings[algorithm.Config])
    _check_reference(settings, built)
    return built


def run_training(settings: Settings, algorithm: type[Algorithm[Any]], command: str) -> int:
    """Check, build and train; return the exit code.

    Raises:
        SwiftRLError: what the user must know.
    """
    built = check_training(settings, algorithm)
    from swiftrl.cli.build import train

    return train(settings, built, command)


POSITIVE = (
    "per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps",
    "max_steps", "num_train_epochs", "learning_rate", "logging_steps", "eval_steps", "save_steps",
    "save_total_limit", "early_stop_interval", "lora_rank", "max_length", "dataset_num_proc",
    "shuffle_buffer_size", "ddp_timeout", "ddp_start_timeout",
    "sequence_parallel_size", "lorap_lr_ratio",
)  # fmt: skip


def _check(settings: Settings) -> None:
    """Refuse what can be seen to be wrong without loading anything."""
    if not settings[ModelConfig].model:
        raise ConfigError(
            "--model is missing: a folder, a hub id, or builtin:tiny-instruct to try things out."
        )
    if not settings[DataConfig].dataset:
        raise ConfigError(
            "--dataset is missing: files, hub ids, or builtin:preferences to try things out."
        )
    for name in POSITIVE:
        value = settings.value(name)
        if value is not None and value <= 0 and not (name == "max_steps" and value == -1):
            raise ConfigError(f"--{name} {value}: expected more than 0.")
    if settings[TrainConfig].lorap_lr_ratio and settings[TunerConfig].tuner_type != "lora":
        raise ConfigError(
            "--lorap_lr_ratio is for LoRA's matrices; leave it, or --tuner_type full."
        )
    ratio = settings[DataConfig].split_dataset_ratio
    if not 0 <= ratio < 1:
        raise ConfigError(f"--split_dataset_ratio {ratio}: expected 0 up to 1, e.g. 0.05.")
    _check_held_out(settings[DataConfig], settings[TrainConfig])
    _check_sequence(settings[TrainConfig], settings[ParallelConfig].sequence_parallel_size)
    for tracker in {*settings[TrainConfig].report_to} - {"none"}:
        check_installed(tracker, extra=tracker, purpose=f"--report_to {tracker}")
    _check_kernels(settings[TrainConfig], settings[ParallelConfig])
    _check_spread(settings)
    check_quantisation(settings[QuantLoadConfig], settings[TunerConfig])
    if settings[DataConfig].streaming and (settings[TrainConfig].max_steps or -1) < 0:
        raise ConfigError("--streaming true has no known length: give --max_steps.")


def _check_sequence(config: TrainConfig, size: int) -> None:
    """Refuse what does not go with rows that several processes share."""
    if size > 1 and config.layout == "rows":
        raise ConfigError(
            f"--sequence_parallel_size {size} divides the tokens of trees: use --layout auto or "
            "tree, or leave it."
        )
    if size > 1 and config.torch_compile:
        raise ConfigError(
            f"--sequence_parallel_size {size}: compiled layers do not exchange tokens in this "
            "version; leave --torch_compile or this."
        )


def _check_spread(settings: Settings) -> None:
    """Refuse to spread a model over devices that other processes have, or share otherwise."""
    way = settings[ModelConfig].device_map
    spread_arguments(settings[ModelConfig])
    if way is None:
        return
    parallel = settings[ParallelConfig]
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError(
            f"--device_map {way} spreads a model over the devices of a single process, and this "
            "run has several. Leave NPROC_PER_NODE, or divide the model: --fsdp fsdp2."
        )
    for name in ("fsdp", "deepspeed"):
        if getattr(parallel, name):
            raise ConfigError(f"--device_map {way} and --{name}: give one of them.")
    if settings[TrainConfig].torch_compile:
        raise ConfigError(
            "--torch_compile true: layers that --device_map spreads are not compiled; leave it."
        )


def _check_kernels(config: TrainConfig, parallel: ParallelConfig) -> None:
    """Refuse kernels that would not be used."""
    if parallel.fsdp:
        read_fsdp(parallel.fsdp)
    sharded = next((name for name in ("fsdp", "deepspeed") if getattr(parallel, name)), None)
    if config.torch_compile and sharded:
        raise ConfigError(
            f"--torch_compile true: sharded layers (--{sharded}) are not compiled in this version; "
            "leave one of them out."
        )
    if config.use_liger_kernel and (config.torch_compile or not config.fused_kernels):
        other = "--torch_compile true" if config.torch_compile else "--fused_kernels false"
        raise ConfigError(f"--use_liger_kernel true: not used with {other}; leave one of them out.")


def _check_reference(settings: Settings, algorithm: Algorithm[Any]) -> None:
    """Refuse settings of a reference that the algorithm does not use, or not in this way."""
    given = [name for name in options_of([ReferenceConfig]) if name in settings.sources]
    if given and not algorithm.needs_reference:
        raise ConfigError(
            f"--{given[0]}: this run has no reference model ({algorithm.name} as set compares with "
            "none); leave it out."
        )
    if ReferenceConfig in settings.groups:
        _check_moving(settings)
    if algorithm.estimates and "precompute_ref_log_probs" in given:
        raise ConfigError(
            f"--precompute_ref_log_probs: {algorithm.name} asks the reference about prompts with "
            "other prompts' replies, which change from epoch to epoch; leave it out."
        )


def _check_moving(settings: Settings) -> None:
    """Refuse what a reference that follows the policy cannot be."""
    config, parallel = settings[ReferenceConfig], settings[ParallelConfig]
    if not config.sync_ref_model:
        plain = ReferenceConfig()
        for name in ("ref_model_mixup_alpha", "ref_model_sync_steps"):
            if getattr(config, name) != getattr(plain, name):  # a saved run's file names all
                raise ConfigError(f"--{name}: for --sync_ref_model true; give it, or leave this.")
        return
    for name in ("ref_model", "ref_adapters", "precompute_ref_log_probs"):
        if getattr(config, name):
            raise ConfigError(
                f"--sync_ref_model true with --{name}: a reference that follows the policy starts "
                "as the model itself, and changes. Leave one of them out."
            )
    for name in ("fsdp", "deepspeed"):
        if getattr(parallel, name):
            raise ConfigError(
                f"--sync_ref_model true with --{name}: a reference that moves needs the whole "
                "model in every process in this version. Leave one of them out."
            )
    _check_mixing(config, lora=settings[TunerConfig].tuner_type == "lora")


def _check_mixing(config: ReferenceConfig, *, lora: bool) -> None:
    alpha, every = config.ref_model_mixup_alpha, config.ref_model_sync_steps
    if every < 1:
        raise ConfigError(f"--ref_model_sync_steps {every}: expected 1 or more.")
    if alpha is not None and not 0 < alpha <= 1:
        raise ConfigError(f"--ref_model_mixup_alpha {alpha}: expected above 0, up to 1.")
    if alpha not in (None, 1.0) and lora:
        raise ConfigError(
            f"--ref_model_mixup_alpha {alpha} with LoRA: a mean of two adapters' matrices is not "
            "the adapter of their mean. Use 1 (the reference becomes the policy), or --tuner_type "
            "full."
        )


def _check_held_out(data: DataConfig, config: TrainConfig) -> None:
    """Refuse to pick a best checkpoint or to stop early where nothing will be held out."""
    held_out = data.val_dataset or data.split_dataset_ratio
    for name in ("load_best_model_at_end", "early_stop_interval"):
        if getattr(config, name) and (not held_out or config.eval_strategy == "no"):
            raise ConfigError(
                f"--{name} needs held-out rows to compare by: give --val_dataset or "
                "--split_dataset_ratio, and an --eval_strategy other than no."
            )
