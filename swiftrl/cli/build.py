"""From settings to a trained model: builds the parts in order and hands them to the trainer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from swiftrl.backends.base import Backend
from swiftrl.cli import hardware
from swiftrl.cli.loading import find_model, load_template
from swiftrl.cli.online import load_prompts, make_rollouts
from swiftrl.cli.reference import find_reference, set_reference
from swiftrl.cli.teacher import check_teacher, rewriting, set_teacher
from swiftrl.core import log
from swiftrl.core.config import Settings
from swiftrl.core.errors import ConfigError, SwiftRLError
from swiftrl.core.files import write_json
from swiftrl.data.config import DataConfig
from swiftrl.data.dataset import EncodedDataset, load_datasets
from swiftrl.data.picture_probe import picture_probe
from swiftrl.data.row_encoder import TemplateRowEncoder
from swiftrl.data.sources import preflight
from swiftrl.data.stream import StreamedDataset
from swiftrl.models.config import ModelConfig, QuantLoadConfig, TunerConfig
from swiftrl.models.load import LoadedModel, Place, load_config, load_model
from swiftrl.models.lora import add_lora, load_adapters
from swiftrl.models.quantise import count_weights
from swiftrl.models.quantised import check_trainable, section_of
from swiftrl.models.resolve import Resolved
from swiftrl.models.towers import prepare_full
from swiftrl.models.value_head import add_value_head
from swiftrl.rlhf.algorithm import Algorithm
from swiftrl.rlhf.config import ReferenceConfig, TrainConfig
from swiftrl.rlhf.distributed import Processes
from swiftrl.rlhf.online import OnlineAlgorithm
from swiftrl.rlhf.parallel.base import Parallel
from swiftrl.rlhf.parallel.choose import choose_parallel
from swiftrl.rlhf.parallel.config import ParallelConfig
from swiftrl.rlhf.parallel.deepspeed_config import read_deepspeed
from swiftrl.rlhf.parallel.fsdp_config import read_fsdp
from swiftrl.rlhf.parallel.sequence_check import check_model
from swiftrl.rlhf.policy import Policy
from swiftrl.rlhf.prompts import Prompts
from swiftrl.rlhf.run_folder import RunFolder, discard_if_unused, prepare_run_folder
from swiftrl.rlhf.run_state import default_accumulation
from swiftrl.rlhf.scoring import causal_lm
from swiftrl.rlhf.trainer import Trainer, TrainResult, default_learning_rate
from swiftrl.rlhf.tree_attention import sdpa_kernel
from swiftrl.rlhf.tree_kernels import checked_kernels, choose_tree_kernel
from swiftrl.templates.config import TemplateConfig
from swiftrl.templates.template import Template

if TYPE_CHECKING:
    from torch import nn

__all__ = ["train"]

SIGNAL_EXIT = {"SIGTERM": 143, "SIGINT": 130}


@dataclass(frozen=True)
class _Run:
    """What every stage needs."""

    settings: Settings
    algorithm: Algorithm[Any]
    backend: Backend
    processes: Processes
    parallel: Parallel
    folder: RunFolder


def train(settings: Settings, algorithm: Algorithm[Any], command: str) -> int:
    """Train a model as the settings say.

    Returns:
        0, or 128 + the number of the signal that ended the run early (after saving).

    Raises:
        SwiftRLError: what the user must know.
    """
    config = settings[TrainConfig]
    backend = hardware.choose(settings[ModelConfig], trains=True)
    processes = Processes.start(
        backend, timeout_s=config.ddp_timeout, start_timeout_s=config.ddp_start_timeout
    )
    with processes.ending_together():
        code = _train(settings, algorithm, command, backend, processes)
    processes.leave()
    return code


def _train(
    settings: Settings,
    algorithm: Algorithm[Any],
    command: str,
    backend: Backend,
    processes: Processes,
) -> int:
    hardware.check(settings, backend)
    # Kernels that are not installed are named before anything is loaded.
    backend.kernels(liger=settings[TrainConfig].use_liger_kernel)
    processes = processes.in_groups(settings[ParallelConfig].sequence_parallel_size)
    backend.seed_all(settings[TrainConfig].seed)
    processes.at("looking for the model")
    resolved = processes.main_first(lambda: find_model(settings[ModelConfig]))
    check_trainable(resolved, settings[TunerConfig])
    _check_packed(settings, resolved)
    if algorithm.needs_reference and settings[ReferenceConfig].ref_model:
        processes.main_first(lambda: find_reference(settings))
    if algorithm.distance is not None:
        processes.main_first(lambda: check_teacher(settings, resolved))
    _check_divisible(settings, algorithm, resolved)
    preflight(
        [*settings[DataConfig].dataset, *settings[DataConfig].val_dataset],
        use_hf=settings[ModelConfig].use_hf,
        dataset_info=settings[DataConfig].dataset_info,
    )
    settings = _resolve(settings, algorithm, backend, processes)
    folder = prepare_run_folder(settings[TrainConfig], processes, settings.as_dict())
    processes.write_stacks_to(folder.path)
    parallel = choose_parallel(
        settings[ParallelConfig], processes, backend, _compute_dtype(settings)
    )
    run = _Run(settings, algorithm, backend, processes, parallel, folder)
    _show(run, command)
    try:
        template = load_template(settings, resolved, text_only=algorithm.row_kind == "text")
        processes.at("reading the data")
        rows, held_out = processes.main_first(lambda: _data(run, template, resolved))
        if isinstance(rows, EncodedDataset):
            algorithm.check_columns(rows.columns, lambda row: str(rows[row].origin))
    except SwiftRLError:
        if processes.is_main:
            discard_if_unused(folder)
        raise
    processes.at("loading the model")
    loaded = load_model(
        resolved,
        settings[ModelConfig],
        backend,
        place=_place(settings, parallel),
        scores=algorithm.num_scores or None,
        scores_tokens=algorithm.scores_tokens,
        quantisation=settings[QuantLoadConfig],
    )
    policy = _policy(run, loaded, template)
    moving = None
    if algorithm.needs_reference:
        processes.at("preparing the reference")
        moving = set_reference(settings, policy, rows, held_out, backend=backend)
    if algorithm.distance is not None:
        processes.at("loading the teacher")
        set_teacher(settings, algorithm, policy, backend)
    policy.share_tokens(processes.sequence)
    train_data, measured = _fed(run, rows, held_out, policy, template, loaded)
    trainer = Trainer(
        policy,
        algorithm,
        train_data,
        measured,
        settings[TrainConfig],
        run_folder=folder,
        processes=processes,
        backend=backend,
        parallel=policy.parallel,
        settings=settings.as_dict(),
        moving=moving,
        rewriting=rewriting(settings, algorithm, policy, template, loaded, processes),
        companions=[part for part in (loaded.tokenizer, loaded.processor) if part is not None],
        compute_dtype=policy.compute_dtype,
        shuffle=settings[DataConfig].dataset_shuffle,
        data_seed=settings[DataConfig].data_seed,
    )
    return _finish(run, trainer.train())


def _check_packed(settings: Settings, resolved: Resolved) -> None:
    """Refuse to divide packed weights in ways that have no room for what belongs to them."""
    method, parallel = settings[QuantLoadConfig].quant_method, settings[ParallelConfig]
    if method is None and section_of(resolved.config) is None:
        return
    if parallel.deepspeed and read_deepspeed(parallel.deepspeed).stage == 3:
        raise ConfigError(
            f"--deepspeed {parallel.deepspeed}: ZeRO 3 does not divide packed weights in this "
            "version. Use --fsdp fsdp2 to divide them, or --deepspeed zero2."
        )
    if method == "bnb" and parallel.fsdp:
        raise ConfigError(
            f"--fsdp {parallel.fsdp} with --quant_method bnb: bitsandbytes keeps scales beside its "
            "weights, where they cannot be divided. Use --quant_method nf4."
        )


def _check_divisible(settings: Settings, algorithm: Algorithm[Any], resolved: Resolved) -> None:
    """Refuse models whose tokens cannot be divided as --sequence_parallel_size asks."""
    size = settings[ParallelConfig].sequence_parallel_size
    check_model(load_config(resolved), size)
    if size > 1 and algorithm.needs_reference and settings[ReferenceConfig].ref_model:
        check_model(load_config(find_reference(settings)[0]), size, "--ref_model")


def _fed(
    run: _Run, rows: Any, held_out: Any, policy: Policy, template: Template, loaded: LoadedModel
) -> tuple[Any, Any]:
    """Return what the trainer takes rows from, and what it is evaluated on."""
    if not isinstance(run.algorithm, OnlineAlgorithm):
        return rows, held_out
    rollouts = make_rollouts(
        run.settings,
        run.algorithm,
        rows,
        policy,
        template,
        loaded.tokenizer,
        processes=run.processes,
        backend=run.backend,
        folder=run.folder.path,
    )
    return rollouts, None if held_out is None else partial(rollouts.measure, held_out)


def _resolve(
    settings: Settings, algorithm: Algorithm[Any], backend: Backend, processes: Processes
) -> Settings:
    """Return the settings with everything that was left open decided, so that it is recorded."""
    config = settings[TrainConfig]
    online = isinstance(algorithm, OnlineAlgorithm)
    changes: dict[str, Any] = {}
    if settings[ModelConfig].torch_dtype is None:
        changes["torch_dtype"] = backend.compute_dtype(None)
    fsdp = settings[ParallelConfig].fsdp
    if fsdp and read_fsdp(fsdp).activation_checkpointing:
        changes["gradient_checkpointing"] = True
    if config.learning_rate is None:
        changes["learning_rate"] = default_learning_rate(
            adapter=settings[TunerConfig].tuner_type == "lora"
        )
    if config.gradient_accumulation_steps is None:
        rows = config.per_device_train_batch_size * processes.replicas
        replies = algorithm.config.num_generations if online else 1
        changes["gradient_accumulation_steps"] = default_accumulation(rows, replies)
    if online and settings.sources.get("metric_for_best_model") is None:
        changes["metric_for_best_model"] = "reward"
    if settings[TemplateConfig].loss_scale is None:
        changes["loss_scale"] = algorithm.loss_scale
    if settings[TemplateConfig].truncation_strategy is None:
        changes["truncation_strategy"] = "raise" if settings[DataConfig].strict else "delete"
    return settings.replace(**changes)


def _show(run: _Run, command: str) -> None:
    """Print what was decided, and keep it beside the results."""
    log.info(f"swiftrl {command}: {run.algorithm.summary}")
    for line in run.settings.lines():
        log.info(f"  {line}")
    log.info(f"  on {run.processes.world_size} x {run.backend.name}; run folder {run.folder.path}")
    if run.processes.is_main:
        write_json(run.folder.path / "args.json", run.settings.as_dict())


def _data(
    run: _Run, template: Template, resolved: Resolved
) -> tuple[EncodedDataset | StreamedDataset | Prompts, EncodedDataset | Prompts | None]:
    """Return the training rows and the held-out ones, encoded."""
    if isinstance(run.algorithm, OnlineAlgorithm):
        folder = run.folder.path if run.processes.is_main else None
        room = _context_length(resolved)
        return load_prompts(run.settings, run.algorithm, template, room, folder)
    config = run.settings[TemplateConfig]
    encoder = TemplateRowEncoder(
        template,
        run.algorithm.row_kind,
        columns=run.settings[DataConfig].columns,
        max_length=config.max_length or _context_length(resolved),
        truncation_strategy=config.truncation_strategy or "raise",
        train=config.loss_scale or run.algorithm.loss_scale,  # type: ignore[arg-type]
        step_separator=run.algorithm.step_separator,
        objectives=run.algorithm.objectives,
    )
    data, seed = run.settings[DataConfig], run.settings[TrainConfig].seed
    folder = run.folder.path if run.processes.is_main else None
    use_hf = run.settings[ModelConfig].use_hf
    stream = None
    if data.streaming:
        stream = StreamedDataset(data, encoder, seed, use_hf, rejects_folder=folder)
        if not data.val_dataset:
            return stream, None
        data = replace(data, dataset=data.val_dataset, val_dataset=[], interleave_prob=[])
    loaded = load_datasets(
        data,
        encoder,
        seed=seed,
        use_hf=use_hf,
        rejects_folder=folder,
    )
    return (stream, loaded.train) if stream is not None else (loaded.train, loaded.evaluation)


def _context_length(resolved: Resolved) -> int | None:
    """Return the longest sequence that the model's positions allow."""
    text = load_config(resolved).get_text_config(decoder=True)
    return getattr(text, "max_position_embeddings", None)


def _policy(run: _Run, loaded: LoadedModel, template: Template) -> Policy:
    settings, algorithm = run.settings, run.algorithm
    model = _trainable(settings, loaded)
    if algorithm.values:
        add_value_head(model)
    # Counted before the weights are laid out over the processes.
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    total = count_weights(model)
    compute_dtype = _compute_dtype(settings)
    policy = Policy(
        model,
        layout=settings[TrainConfig].layout,
        compute_dtype=compute_dtype,
        **_kernels(run, model, compute_dtype),
        compiled=settings[TrainConfig].torch_compile,
        offload=settings[TrainConfig].activation_cpu_offload,
        gradient_checkpointing=settings[TrainConfig].gradient_checkpointing,
        temperature=algorithm.temperature,
        detach_values=algorithm.values == "detached",
        pictures=picture_probe(template),
        parallel=run.parallel,
    )
    log.info(
        f"model {loaded.name}: {total / 1e6:.2f}M parameters, {trained / 1e6:.3f}M trained; "
        f"layout {policy.layout.layout} ({policy.layout.reason})"
    )
    return policy


def _kernels(run: _Run, model: nn.Module, dtype: torch.dtype) -> dict[str, Any]:
    """Return what computes the model's operations, as arguments of `Policy`."""
    config = run.settings[TrainConfig]
    if not config.fused_kernels:
        return {"fused": False, "kernel": sdpa_kernel}
    device = run.backend.current_device()
    kernels = checked_kernels(run.backend, device, dtype, liger=config.use_liger_kernel)
    if config.layout == "rows":
        return {"kernels": kernels}
    text = causal_lm(model).config.get_text_config(decoder=True)
    able = run.backend.capabilities.attention
    return {"kernels": kernels, "kernel": choose_tree_kernel(kernels, able, text, device, dtype)}


def _place(settings: Settings, parallel: Parallel) -> Place:
    """Return where weights are read to; some initialisations of LoRA look at them everywhere."""
    looks = settings[TunerConfig].init_weights in ("pissa", "olora")
    return "host" if parallel.place == "nowhere" and looks else parallel.place


def _compute_dtype(settings: Settings) -> torch.dtype:
    return getattr(torch, settings[ModelConfig].torch_dtype or "float32")


def _trainable(settings: Settings, loaded: LoadedModel) -> nn.Module:
    tuner, adapters = settings[TunerConfig], settings[ModelConfig].adapters
    if tuner.tuner_type == "full":
        if adapters:
            raise ConfigError(
                "--adapters with --tuner_type full: merge them first (swiftrl merge-lora), then "
                "train the merged model."
            )
        prepare_full(loaded.model, tuner, loaded.spec)
        return loaded.model
    if adapters:
        return load_adapters(loaded.model, adapters, trainable=True)
    return add_lora(loaded.model, tuner, loaded.spec)


def _finish(run: _Run, result: TrainResult) -> int:
    if result.stopped_by is not None:
        return SIGNAL_EXIT.get(result.stopped_by, 1)
    log.info(f"Finished: {run.folder.path}")
    if result.images:
        log.info(f"Curves: {result.images[0].parent}")
    if result.checkpoint is None:
        return 0
    log.info("Next:")
    if run.settings[TunerConfig].tuner_type == "lora":
        log.info(f"  swiftrl infer --adapters {result.checkpoint}")
        log.info(f"  swiftrl merge-lora --adapters {result.checkpoint}")
    else:
        log.info(f"  swiftrl infer --model {result.checkpoint}")
    return 0
