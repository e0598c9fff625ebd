"""From settings to what a plan works with: the model's shape, the rows, the device."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from typing import Any, cast

from swiftrl.backends.base import Backend
from swiftrl.backends.detect import BACKENDS, detect
from swiftrl.backends.footprint import footprint_of
from swiftrl.cli.plan_config import PlanConfig
from swiftrl.cli.plan_rows import Lengths
from swiftrl.cli.reference import own_base
from swiftrl.core.config import Settings
from swiftrl.core.errors import ConfigError
from swiftrl.models.config import ModelConfig, QuantLoadConfig, TunerConfig
from swiftrl.models.quantise import check_quantisation
from swiftrl.models.quantised import section_of
from swiftrl.models.resolve import Resolved
from swiftrl.models.skeleton import resolve_config, skeleton
from swiftrl.models.targets import ends_with_any, lora_targets
from swiftrl.models.towers import frozen_towers
from swiftrl.rlhf.algorithm import Algorithm
from swiftrl.rlhf.config import ReferenceConfig, TrainConfig
from swiftrl.rlhf.online import OnlineAlgorithm
from swiftrl.rlhf.parallel.config import ParallelConfig
from swiftrl.rlhf.parallel.deepspeed_config import read_deepspeed
from swiftrl.rlhf.parallel.fsdp_config import read_fsdp
from swiftrl.rlhf.planning.choices import (
    Choices,
    Device,
    Quantisation,
    ReferenceKind,
    Rollout,
    Sharding,
    TeacherKind,
)
from swiftrl.rlhf.planning.quantised import CALIBRATED, quantisation, stored_quantisation
from swiftrl.rlhf.planning.shape import ModelShape, read_shape
from swiftrl.rlhf.planning.workload import Tree
from swiftrl.rlhf.run_state import default_accumulation
from swiftrl.rlhf.teacher_config import TeacherConfig

__all__ = [
    "accumulation_of",
    "backend_of",
    "choices_of",
    "device_of",
    "parse_memory",
    "processes_of",
]

_GIB = 2**30
_WHOLE = "flex_attention"
"""The implementation that runs a tree in one call."""
_UNITS = {"": 1, "b": 1, "k": 2**10, "m": 2**20, "g": _GIB, "t": 2**40}
_SIZE = re.compile(r"\s*([0-9.]+)\s*([kmgt]?)(i?b)?\s*", re.IGNORECASE)


def parse_memory(text: str) -> int:
    """Return bytes of "48GiB", "80g" or a plain number of GiB.

    Raises:
        ConfigError: it is none of these.
    """
    found = _SIZE.fullmatch(text)
    try:
        number = float(found[1]) if found else 0.0
    except ValueError:
        number = 0.0
    if found is None or number <= 0:
        raise ConfigError(f"--device_memory {text}: expected a size such as 48GiB or 80g.")
    unit = _UNITS[found[2].lower()] if found[2] or found[3] else _GIB
    return int(number * unit)


def processes_of(config: PlanConfig) -> int:
    """Return how many processes share the work: as asked, or as the launcher would start."""
    if config.processes is not None:
        return config.processes
    return int(os.environ.get("NPROC_PER_NODE", "1")) * int(os.environ.get("NNODES", "1"))


def backend_of(settings: Settings) -> Backend:
    """Return the hardware that is planned for, which need not be here; unset, what is."""
    config = settings[ModelConfig]
    name = "cpu" if config.use_cpu else config.backend
    return BACKENDS.get(name) if name is not None else detect()


def device_of(settings: Settings, backend: Backend, dtype: str) -> Device:
    """Return what a process runs on.

    Args:
        settings: name the memory; unset, what is here.
        backend: the hardware.
        dtype: to compute in.

    Raises:
        ConfigError: the memory is not known.
    """
    import torch

    from swiftrl.backends.products import exact_sums, product_dtype

    asked = settings[PlanConfig].device_memory
    if asked is None and not backend.available():
        raise ConfigError(
            f"--backend {backend.name}: there is none here to ask. Give --device_memory, "
            "80GiB for example."
        )
    compute, fused = getattr(torch, dtype), settings[TrainConfig].fused_kernels
    footprint = footprint_of(backend.name)
    kind = torch.device(backend.device_type if backend.available() else "meta")
    return Device(
        name=backend.name,
        host=footprint.host,
        memory=parse_memory(asked) if asked else backend.mem_info().total,
        base=footprint.base,
        slack=footprint.slack,
        native=product_dtype(kind, compute) == compute,
        blocks=fused and exact_sums(kind, compute) is not None,
        whole=fused and _WHOLE in backend.capabilities.attention,
    )


def choices_of(
    settings: Settings,
    algorithm: Algorithm[Any],
    resolved: Resolved,
    model: Any,
    shape: ModelShape,
    lengths: Lengths,
    dtype: str,
) -> Choices:
    """Return the settings that decide memory.

    Args:
        settings: all of them.
        algorithm: of the run.
        resolved: the model's configuration.
        model: its skeleton.
        shape: of it.
        lengths: of the rows.
        dtype: to compute in.
    """
    tuner, train, plan = settings[TunerConfig], settings[TrainConfig], settings[PlanConfig]
    processes = processes_of(plan)
    accumulation = accumulation_of(settings, algorithm)
    sharding, offload = _sharding(settings, processes)
    teacher = _teacher(settings, algorithm)
    text = model.config.get_text_config(decoder=True)
    explicit = bool(getattr(text, "attn_logit_softcapping", None)) or "GptOss" in shape.architecture
    return Choices(
        full=tuner.tuner_type == "full",
        dtype_bytes={"float32": 4}.get(dtype, 2),
        adapted=_adapted(model, replace(tuner, tuner_type="lora"), resolved),
        frozen_towers=frozenset(frozen_towers(tuner)),
        rank=tuner.lora_rank,
        dropout=tuner.lora_dropout > 0,
        saved=_saved(model, tuner),
        quantisation=_quantisation(settings, resolved),
        trees=_written(lengths.trees, algorithm),
        layout="rows" if train.layout == "rows" else _layout(model),
        patches=plan.picture_patches,
        accumulation=accumulation,
        checkpointing=train.gradient_checkpointing,
        offload_activations=train.activation_cpu_offload,
        reference=_reference(settings, algorithm),
        states=2 if train.optim == "adamw" else 0,
        processes=processes,
        sharding=sharding,
        offload=offload,
        explicit=explicit,
        rollout=_rollout(settings, algorithm, lengths, accumulation),
        sequence_parallel=settings[ParallelConfig].sequence_parallel_size,
        teacher=teacher,
    )


def _teacher(settings: Settings, algorithm: Algorithm[Any]) -> TeacherKind | None:
    """Return the teacher's shape, by its configuration; None without one."""
    if algorithm.distance is None:
        return None
    config = settings[ModelConfig]
    asked = settings[TeacherConfig].teacher_model
    if asked is None:
        raise ConfigError("--teacher_model is missing: the model to learn from, a folder or id.")
    resolved = resolve_config(
        asked, {}, use_hf=config.use_hf, revision=None, model_type=None, token=config.hub_token
    )
    shape = read_shape(skeleton(resolved), resolved.spec)
    trained_head = settings[TunerConfig].tuner_type == "full"
    return TeacherKind(shape, algorithm.config.seq_kd, trained_head)


def _written(trees: tuple[Tree, ...], algorithm: Algorithm[Any]) -> tuple[Tree, ...]:
    """Return rows whose replies are as long as a model may write them, where one does."""
    config = algorithm.config
    if algorithm.distance is None or not (config.lmbda or config.seq_kd):
        return trees
    longest = config.max_completion_length
    return tuple(
        Tree(
            tree.prompt,
            tuple(max(reply, longest) for reply in tree.replies),
            tuple(max(trained, longest) for trained in tree.trained),
        )
        for tree in trees
    )


def accumulation_of(settings: Settings, algorithm: Algorithm[Any]) -> int:
    """Return the forward passes of an optimizer step."""
    train = settings[TrainConfig]
    online = isinstance(algorithm, OnlineAlgorithm)
    groups = processes_of(settings[PlanConfig]) // settings[ParallelConfig].sequence_parallel_size
    return train.gradient_accumulation_steps or default_accumulation(
        train.per_device_train_batch_size * max(groups, 1),
        algorithm.config.num_generations if online else 1,
    )


def _layout(model: Any) -> str:
    from swiftrl.rlhf.layout import choose_layout

    # By architecture alone: there is nothing to try it out on.
    return choose_layout(model, probe=False).layout


def _adapted(model: Any, tuner: TunerConfig, resolved: Resolved) -> frozenset[str]:
    from torch import nn

    targets = lora_targets(model, tuner, resolved.spec)
    linears = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    if isinstance(targets, str):
        return frozenset(name for name in linears if re.fullmatch(targets, name))
    return frozenset(name for name in linears if ends_with_any(name, targets))


def _saved(model: Any, tuner: TunerConfig) -> int:
    if tuner.tuner_type == "full" or not tuner.modules_to_save:
        return 0
    return sum(
        parameter.numel()
        for name, parameter in model.named_parameters()
        if ends_with_any(name.rpartition(".")[0], tuner.modules_to_save)
    )


def _quantisation(settings: Settings, resolved: Resolved) -> Quantisation | None:
    """Return how linear layers will lie in memory: as asked for, or as the files have them."""
    asked = settings[QuantLoadConfig]
    if asked.quant_method is None:
        check_quantisation(asked)
        stored = section_of(resolved.config)
        return stored_quantisation(stored) if stored else None
    if asked.quant_method not in CALIBRATED:
        check_quantisation(asked, settings[TunerConfig])
    return quantisation(
        asked.quant_method,
        asked.quant_bits,
        settings[PlanConfig].group_size,
        double=asked.bnb_4bit_use_double_quant,
    )


def _reference(settings: Settings, algorithm: Algorithm[Any]) -> ReferenceKind:
    if not algorithm.needs_reference:
        return "none"
    reference = settings[ReferenceConfig]
    if reference.precompute_ref_log_probs:
        return "precomputed"
    if reference.sync_ref_model:
        return "past"
    return "adapters" if own_base(settings) else "copy"


def _sharding(settings: Settings, processes: int) -> tuple[Sharding, bool]:
    parallel = settings[ParallelConfig]
    if parallel.fsdp:
        return "fsdp2", read_fsdp(parallel.fsdp).offload
    if parallel.deepspeed:
        found = read_deepspeed(parallel.deepspeed)
        return cast(Sharding, f"zero{found.stage}"), found.offload
    return "none", False


def _rollout(
    settings: Settings, algorithm: Algorithm[Any], lengths: Lengths, accumulation: int
) -> Rollout | None:
    config, train = algorithm.config, settings[TrainConfig]
    writes = algorithm.distance is not None and (config.lmbda or config.seq_kd)
    if not isinstance(algorithm, OnlineAlgorithm) and not writes:
        return None
    replies = train.per_device_train_batch_size * accumulation
    together = min(config.rollout_batch_size, replies)
    prompt = max(tree.prompt for tree in lengths.trees)
    return Rollout(together, prompt, config.max_completion_length)
