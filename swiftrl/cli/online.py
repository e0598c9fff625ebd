"""What online learning needs besides a model: prompts, rewards, an engine, rollouts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from swiftrl.backends.base import Backend
from swiftrl.cli.rewards import all_rewards, check_rewards
from swiftrl.core import log
from swiftrl.core.config import Settings
from swiftrl.core.errors import ConfigError
from swiftrl.data import mix
from swiftrl.data.config import DataConfig
from swiftrl.data.dataset import load_rows
from swiftrl.data.rejects import REJECTS_FILE, Reject, save_rejects
from swiftrl.data.rows import Prompt
from swiftrl.engine.transformers import TransformersEngine
from swiftrl.models.config import ModelConfig
from swiftrl.rlhf.answering import Answering
from swiftrl.rlhf.completions_file import CompletionsFile
from swiftrl.rlhf.config import ReferenceConfig, TrainConfig
from swiftrl.rlhf.distributed import Processes
from swiftrl.rlhf.online import OnlineAlgorithm
from swiftrl.rlhf.policy import Policy
from swiftrl.rlhf.prompts import EncodedPrompt, Prompts, check_prompts
from swiftrl.rlhf.reuse import Reuse
from swiftrl.rlhf.rewards.config import RewardConfig
from swiftrl.rlhf.rewards.load import weights_of
from swiftrl.rlhf.rollouts import Rollouts
from swiftrl.rlhf.run_state import default_accumulation
from swiftrl.templates.config import TemplateConfig
from swiftrl.templates.template import Template

__all__ = ["load_prompts", "make_rollouts"]


def load_prompts(
    settings: Settings,
    algorithm: OnlineAlgorithm[Any],
    template: Template,
    room: int | None,
    folder: Path | None,
) -> tuple[Prompts, Prompts | None]:
    """Return the prompts to train on and the held-out ones, checked against the model's length.

    Args:
        settings: of the run.
        algorithm: says how long a reply may be.
        template: the model's.
        room: the longest sequence that the model takes.
        folder: where bad rows are set aside; None for nowhere.

    Raises:
        ConfigError: a setting that online learning has no use for.
        DataError: a bad row, or a prompt that is too long.
    """
    _refuse(settings)
    _check_groups(settings, algorithm)
    longest = algorithm.config.max_completion_length
    check_rewards(settings, longest)
    data = settings[DataConfig]
    rows, rejects = _read(settings, data.dataset)
    held_out = None
    if data.val_dataset:
        held_out, others = _read(settings, data.val_dataset)
        rejects = [*rejects, *others]
    _set_aside(rejects, folder)
    if held_out is None and data.split_dataset_ratio:
        seed = settings[TrainConfig].seed if data.data_seed is None else data.data_seed
        kept, held = mix.split(len(rows), data.split_dataset_ratio, seed)
        rows, held_out = [rows[i] for i in kept], [rows[i] for i in held]
    both = [_encoded(part, template) for part in (rows, held_out or [])]
    for part in both:
        check_prompts(part, room, longest, settings[TemplateConfig].max_length)
    return Prompts(both[0]), Prompts(both[1]) if both[1] else None


def _refuse(settings: Settings) -> None:
    if settings[DataConfig].streaming:
        raise ConfigError("--streaming true: online learning reads all prompts at the start.")
    if settings.sources.get("truncation_strategy") not in (None, "resolved"):
        raise ConfigError(
            "--truncation_strategy: prompts of online learning are never cut. Leave the flag; a "
            "prompt longer than --max_length is named."
        )
    if settings[DataConfig].interleave_prob:
        raise ConfigError("--interleave_prob: online learning joins its data sets end to end.")
    if settings[ReferenceConfig].precompute_ref_log_probs:
        raise ConfigError(
            "--precompute_ref_log_probs true: replies are not known before they are written. "
            "Leave the flag, or set --beta 0 to do without a reference."
        )


def _check_groups(settings: Settings, algorithm: OnlineAlgorithm[Any]) -> None:
    """Refuse batches that part what the algorithm compares."""
    size, together = settings[TrainConfig].per_device_train_batch_size, algorithm.whole_groups
    if together and size < algorithm.config.num_generations:
        raise ConfigError(
            f"--per_device_train_batch_size {size}: {algorithm.name} compares the replies to a "
            f"prompt in one forward pass; expected --num_generations "
            f"({algorithm.config.num_generations}) or more."
        )


def _set_aside(rejects: list[Reject], folder: Path | None) -> None:
    """Keep bad rows in a file, and say so."""
    if folder is None or not rejects:
        return
    save_rejects(folder / REJECTS_FILE, rejects)
    log.warn(
        f"{len(rejects)} bad rows were set aside in {folder / REJECTS_FILE}; "
        f"the first, {rejects[0]}"
    )


def _read(settings: Settings, names: list[str]) -> tuple[list[Prompt], list[Reject]]:
    rows, rejects = load_rows(
        settings[DataConfig],
        names,
        "prompt",
        seed=settings[TrainConfig].seed,
        use_hf=settings[ModelConfig].use_hf,
    )
    return [row for row in rows if isinstance(row, Prompt)], rejects


def _encoded(rows: list[Prompt], template: Template) -> list[EncodedPrompt]:
    return [EncodedPrompt(row, template.encode_prompt(row.conversation)) for row in rows]


def make_rollouts(
    settings: Settings,
    algorithm: OnlineAlgorithm[Any],
    prompts: Prompts,
    policy: Policy,
    template: Template,
    tokenizer: Any,
    *,
    processes: Processes,
    backend: Backend,
    folder: Path,
) -> Rollouts:
    """Return what feeds the trainer.

    Args:
        settings: of the run.
        algorithm: of the run.
        prompts: to answer.
        policy: writes, with its own weights.
        template: the model's.
        tokenizer: the model's.
        processes: those of the run.
        backend: where reward models go.
        folder: of the run.
    """
    rewards, data, config = settings[RewardConfig], settings[DataConfig], settings[TrainConfig]
    compute = policy.compute_dtype
    engine = TransformersEngine(
        policy.model,
        tokenizer,
        stop_token_ids=template.stop_token_ids,
        max_batch_size=algorithm.config.rollout_batch_size,
        compute_dtype=None if compute == torch.float32 else compute,
        shown_token_ids=template.mark_token_ids,
    )
    loaded = all_rewards(
        settings,
        backend,
        longest=algorithm.config.max_completion_length,
        batch_size=config.per_device_train_batch_size,
    )
    seed = config.seed if data.data_seed is None else data.data_seed
    answering = Answering(
        prompts,
        algorithm.config,
        policy,
        engine,
        template,
        loaded,
        weights_of(rewards),
        rewards.reward_timeout,
        processes,
        seed,
    )
    return Rollouts(
        answering,
        algorithm,
        seed=seed,
        shuffle=data.dataset_shuffle,
        micro_batch_size=config.per_device_train_batch_size,
        reuse=_reuse(settings, algorithm, processes),
        endless=config.max_steps not in (None, -1),
        completions=CompletionsFile(folder) if algorithm.config.log_completions else None,
    )


def _reuse(settings: Settings, algorithm: OnlineAlgorithm[Any], processes: Processes) -> Reuse:
    config, size = settings[TrainConfig], algorithm.config.num_generations
    per_pass = config.per_device_train_batch_size * processes.replicas
    accumulation = config.gradient_accumulation_steps
    return algorithm.reuse(per_pass, accumulation or default_accumulation(per_pass, size))
