"""From settings to a trained model: builds the parts in order and hands them to the trainer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from swiftrl.backends.base import Backend
from swiftrl.backends.detect import detect
from swiftrl.cli.loading import find_model, load_template
from swiftrl.cli.online import load_prompts, make_rollouts
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
from swiftrl.models.config import ModelConfig, TunerConfig
from swiftrl.models.load import LoadedModel, load_config, load_model
from swiftrl.models.lora import add_lora, changes_base_weights, load_adapters
from swiftrl.models.resolve import Resolved
from swiftrl.models.towers import prepare_full
from swiftrl.rlhf.algorithm import Algorithm
from swiftrl.rlhf.config import ReferenceConfig, TrainConfig
from swiftrl.rlhf.distributed import Processes
from swiftrl.rlhf.online import OnlineAlgorithm
from swiftrl.rlhf.order import collate
from swiftrl.rlhf.policy import Policy
from swiftrl.rlhf.prompts import Prompts
from swiftrl.rlhf.run_folder import RunFolder, discard_if_unused, prepare_run_folder
from swiftrl.rlhf.run_state import default_accumulation
from swiftrl.rlhf.trainer import Trainer, TrainResult, default_learning_rate
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
    folder: RunFolder


def train(settings: Settings, algorithm: Algorithm[Any], command: str) -> int:
    """Train a model as the settings say.

    Returns:
        0, or 128 + the number of the signal that ended the run early (after saving).

    Raises:
        SwiftRLError: what the user must know.
    """
    backend = detect("cpu" if settings[ModelConfig].use_cpu else None)
    processes = Processes.start(backend, timeout_s=settings[TrainConfig].ddp_timeout)
    backend.seed_all(settings[TrainConfig].seed)
    resolved = _on_main_first(processes, lambda: find_model(settings[ModelConfig]))
    if algorithm.needs_reference and settings[ReferenceConfig].ref_model:
        _on_main_first(processes, lambda: _find_reference(settings))
    preflight(
        [*settings[DataConfig].dataset, *settings[DataConfig].val_dataset],
        use_hf=settings[ModelConfig].use_hf,
        dataset_info=settings[DataConfig].dataset_info,
    )
    settings = _resolve(settings, algorithm, backend, processes)
    folder = prepare_run_folder(settings[TrainConfig], processes, settings.as_dict())
    run = _Run(settings, algorithm, backend, processes, folder)
    _show(run, command)
    try:
        template = load_template(settings, resolved, text_only=algorithm.row_kind == "text")
        rows, held_out = _on_main_first(processes, lambda: _data(run, template, resolved))
    except SwiftRLError:
        if processes.is_main:
            discard_if_unused(folder)
        raise
    loaded = load_model(resolved, settings[ModelConfig], backend)
    policy = _policy(run, loaded, template)
    if algorithm.needs_reference:
        _set_reference(run, policy, rows, held_out)
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
        settings=settings.as_dict(),
        companions=[part for part in (loaded.tokenizer, loaded.processor) if part is not None],
        compute_dtype=policy.compute_dtype,
        shuffle=settings[DataConfig].dataset_shuffle,
        data_seed=settings[DataConfig].data_seed,
    )
    result = trainer.train()
    processes.leave()
    return _finish(run, result)


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
        folder=run.folder.path,
    )
    return rollouts, None if held_out is None else partial(rollouts.measure, held_out)


def _on_main_first(processes: Processes, work: Any) -> Any:
    """Let one process download or encode, and the others find it done."""
    outcome = work() if processes.is_main else None
    processes.wait()
    return outcome if processes.is_main else work()


def _resolve(
    settings: Settings, algorithm: Algorithm[Any], backend: Backend, processes: Processes
) -> Settings:
    """Return the settings with everything that was left open decided, so that it is recorded."""
    config = settings[TrainConfig]
    online = isinstance(algorithm, OnlineAlgorithm)
    changes: dict[str, Any] = {}
    if settings[ModelConfig].torch_dtype is None:
        changes["torch_dtype"] = backend.compute_dtype(None)
    if config.learning_rate is None:
        changes["learning_rate"] = default_learning_rate(
            adapter=settings[TunerConfig].tuner_type == "lora"
        )
    if config.gradient_accumulation_steps is None:
        rows = config.per_device_train_batch_size * processes.world_size
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
    online = isinstance(algorithm, OnlineAlgorithm)
    model = _trainable(settings, loaded)
    policy = Policy(
        model,
        layout=settings[TrainConfig].layout,
        compute_dtype=getattr(torch, settings[ModelConfig].torch_dtype or "float32"),
        gradient_checkpointing=settings[TrainConfig].gradient_checkpointing,
        temperature=algorithm.config.temperature if online else 1.0,
        pictures=picture_probe(template),
    )
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    total = sum(p.numel() for p in model.parameters())
    log.info(
        f"model {loaded.name}: {total / 1e6:.2f}M parameters, {trained / 1e6:.3f}M trained; "
        f"layout {policy.layout.layout} ({policy.layout.reason})"
    )
    return policy


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


def _set_reference(
    run: _Run,
    policy: Policy,
    rows: EncodedDataset | StreamedDataset | Prompts,
    held_out: EncodedDataset | Prompts | None,
) -> None:
    settings, reference = run.settings, run.settings[ReferenceConfig]
    tuner, model = settings[TunerConfig], settings[ModelConfig]
    own_base = tuner.tuner_type == "lora" and not changes_base_weights(tuner)
    if reference.ref_model or reference.ref_adapters or model.adapters or not own_base:
        policy.refer_to(_reference_model(run))
    else:
        policy.refer_to_itself()
    if reference.precompute_ref_log_probs:
        if not isinstance(rows, EncodedDataset):
            raise ConfigError(
                "--precompute_ref_log_probs needs all rows at the start; leave it or --streaming."
            )
        parts = [part for part in (rows, held_out) if isinstance(part, EncodedDataset)]
        _precompute(run, policy, parts)


def _reference_model(run: _Run) -> nn.Module:
    """Return the frozen model that --ref_model and --ref_adapters name.

    Without --ref_model it is the model as it was before training; adapters that training goes on
    from belong to it.
    """
    resolved, adapters = _find_reference(run.settings)
    loaded = load_model(resolved, run.settings[ModelConfig], run.backend)
    return load_adapters(loaded.model, adapters) if adapters else loaded.model


def _find_reference(settings: Settings) -> tuple[Resolved, list[str]]:
    """Return the checked folder of the reference, and its adapters."""
    model, reference = settings[ModelConfig], settings[ReferenceConfig]
    adapters = reference.ref_adapters or ([] if reference.ref_model else model.adapters)
    if reference.ref_model is None:
        return find_model(replace(model, adapters=adapters)), adapters
    config = replace(model, model=reference.ref_model, adapters=adapters)
    return find_model(config, "--ref_model"), adapters


def _precompute(run: _Run, policy: Policy, parts: list[EncodedDataset]) -> None:
    config = run.settings[TrainConfig]
    cache = run.settings[DataConfig].cache_dir
    folder = Path(cache).expanduser() if cache else Path.home() / ".cache" / "swiftrl"
    size = config.per_device_eval_batch_size or config.per_device_train_batch_size
    spans = [(part, start) for part in parts for start in range(0, len(part), size)]
    device = run.processes.device
    batches = (
        collate([part[i] for i in range(start, min(start + size, len(part)))], start).batch.to(
            device
        )
        for part, start in spans
    )
    progress = log.Progress("reference", len(spans))
    store = policy.precompute(folder / "reference")

    def prepare() -> int:
        return store.prepare(batches, on_batch=progress.update)

    computed = _on_main_first(run.processes, prepare)
    progress.close()
    log.info(f"reference: {computed} rows computed, the others were on disk ({store.path})")


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
