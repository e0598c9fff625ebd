"""The teacher of a distillation: found, compared with the student, loaded; and who writes."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from swiftrl.backends.base import Backend
from swiftrl.cli.loading import find_model
from swiftrl.core.config import Settings
from swiftrl.core.errors import ConfigError
from swiftrl.engine.sampling import SamplingParams
from swiftrl.engine.transformers import TransformersEngine
from swiftrl.models.config import ModelConfig
from swiftrl.models.load import LoadedModel, load_model, load_tokenizer
from swiftrl.models.lora import load_adapters
from swiftrl.rlhf.algorithm import Algorithm
from swiftrl.rlhf.config import TrainConfig
from swiftrl.rlhf.distributed import Processes
from swiftrl.rlhf.policy import Policy
from swiftrl.rlhf.teacher_config import TeacherConfig
from swiftrl.rlhf.writing import Rewriting, Writer
from swiftrl.templates.template import Template

if TYPE_CHECKING:
    from collections.abc import Callable

    from swiftrl.models.resolve import Resolved

__all__ = ["check_teacher", "rewriting", "set_teacher"]


def check_teacher(settings: Settings, student: Resolved) -> None:
    """Find the teacher and hold its tokenizer against the student's, before anything is loaded.

    Raises:
        ConfigError: there is none, or it writes in other tokens.
    """
    resolved = _find(settings)
    own = load_tokenizer(student).get_vocab()
    other = load_tokenizer(resolved).get_vocab()
    differing = sorted((index, token) for token, index in own.items() if other.get(token) != index)
    if not differing:
        return
    index, token = differing[0]
    theirs = other.get(token)
    found = "does not have it" if theirs is None else f"has it as {theirs}"
    raise ConfigError(
        f"--teacher_model {resolved.name}: its tokenizer is another one: {len(differing)} of the "
        f"student's {len(own)} tokens differ; the student's token {index} is {token!r}, and the "
        f"teacher {found}. Distributions over different tokens cannot be compared: take a teacher "
        "of the student's family, or let the teacher write replies (swiftrl infer) and train on "
        "them with swiftrl sft."
    )


def _find(settings: Settings) -> Resolved:
    config = settings[TeacherConfig]
    if config.teacher_model is None and not config.teacher_adapters:
        raise ConfigError("--teacher_model is missing: the model to learn from, a folder or id.")
    return find_model(_teacher_config(settings), "--teacher_model")


def _teacher_config(settings: Settings) -> ModelConfig:
    config = settings[TeacherConfig]
    return replace(
        settings[ModelConfig],
        model=config.teacher_model,
        adapters=config.teacher_adapters,
        model_type=None,
        model_revision=None,
    )


def set_teacher(
    settings: Settings, algorithm: Algorithm[Any], policy: Policy, backend: Backend
) -> None:
    """Load the teacher and give it to the policy."""
    distance = algorithm.distance
    assert distance is not None
    loaded = load_model(_find(settings), _teacher_config(settings), backend)
    adapters = settings[TeacherConfig].teacher_adapters
    model = load_adapters(loaded.model, adapters) if adapters else loaded.model
    policy.learn_from(model, distance)


def rewriting(
    settings: Settings,
    algorithm: Algorithm[Any],
    policy: Policy,
    template: Template,
    student: LoadedModel,
    processes: Processes,
) -> Rewriting | None:
    """Return who writes replies in place of the data's, and when; None for never."""
    config = algorithm.config
    if algorithm.distance is None or not (config.lmbda or config.seq_kd):
        return None

    def writer(model: Any, ready: Callable[[], AbstractContextManager[None]]) -> Writer:
        compute = policy.compute_dtype
        engine = TransformersEngine(
            model,
            student.tokenizer,
            stop_token_ids=template.stop_token_ids,
            max_batch_size=config.rollout_batch_size,
            compute_dtype=None if compute == torch.float32 else compute,
            shown_token_ids=template.mark_token_ids,
        )
        return Writer(engine, ready)

    seed = settings[TrainConfig].seed
    sampling = SamplingParams(
        temperature=config.temperature, max_tokens=config.max_completion_length, seed=seed
    )
    teacher = writer(policy.teacher_model, policy.teacher_generating) if config.seq_kd else None
    return Rewriting(
        writer(policy.model, policy.generating), teacher, config.lmbda, sampling, processes, seed
    )
