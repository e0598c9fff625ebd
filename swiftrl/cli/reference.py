"""The reference of a run: itself without adapters, another model, or what lies on disk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from swiftrl.backends.base import Backend
from swiftrl.cli.loading import find_model
from swiftrl.core import log
from swiftrl.core.config import Settings
from swiftrl.core.errors import ConfigError
from swiftrl.data.config import DataConfig
from swiftrl.data.dataset import EncodedDataset
from swiftrl.data.stream import StreamedDataset
from swiftrl.models.config import ModelConfig, QuantLoadConfig, TunerConfig
from swiftrl.models.load import Place, load_model
from swiftrl.models.lora import changes_base_weights, load_adapters
from swiftrl.models.resolve import Resolved
from swiftrl.rlhf.config import ReferenceConfig, TrainConfig
from swiftrl.rlhf.moving_reference import MovingReference
from swiftrl.rlhf.order import collate
from swiftrl.rlhf.policy import Policy
from swiftrl.rlhf.prompts import Prompts

if TYPE_CHECKING:
    from torch import nn

__all__ = ["find_reference", "own_base", "set_reference"]


def set_reference(
    settings: Settings,
    policy: Policy,
    rows: EncodedDataset | StreamedDataset | Prompts,
    held_out: EncodedDataset | Prompts | None,
    *,
    backend: Backend,
) -> MovingReference | None:
    """Give the policy the reference that the settings ask for.

    Returns:
        the reference if it follows the policy.

    Raises:
        ConfigError: it is to be computed beforehand, and the rows are not known then.
    """
    reference = settings[ReferenceConfig]
    if reference.sync_ref_model:
        alpha = reference.ref_model_mixup_alpha
        if alpha is None:
            alpha = 1.0 if settings[TunerConfig].tuner_type == "lora" else 0.6
        return policy.refer_to_past_self(every=reference.ref_model_sync_steps, alpha=alpha)
    if own_base(settings):
        policy.refer_to_itself()
    else:
        policy.refer_to(_reference_model(settings, backend, policy.parallel.place))
    if reference.precompute_ref_log_probs:
        if not isinstance(rows, EncodedDataset):
            raise ConfigError(
                "--precompute_ref_log_probs needs all rows at the start; leave it or --streaming."
            )
        parts = [part for part in (rows, held_out) if isinstance(part, EncodedDataset)]
        _precompute(settings, policy, parts)
    return None


def own_base(settings: Settings) -> bool:
    """Return whether the model without its adapters is the reference, and no second copy is."""
    reference, tuner = settings[ReferenceConfig], settings[TunerConfig]
    other = reference.ref_model or reference.ref_adapters or settings[ModelConfig].adapters
    return tuner.tuner_type == "lora" and not changes_base_weights(tuner) and not other


def _reference_model(settings: Settings, backend: Backend, place: Place) -> nn.Module:
    """Return the frozen model that --ref_model and --ref_adapters name.

    Without --ref_model it is the model as it was before training; adapters that training goes on
    from belong to it.
    """
    resolved, adapters = find_reference(settings)
    loaded = load_model(
        resolved,
        settings[ModelConfig],
        backend,
        place=place,
        quantisation=settings[QuantLoadConfig],
    )
    return load_adapters(loaded.model, adapters) if adapters else loaded.model


def find_reference(settings: Settings) -> tuple[Resolved, list[str]]:
    """Return the checked folder of the reference, and its adapters."""
    model, reference = settings[ModelConfig], settings[ReferenceConfig]
    adapters = reference.ref_adapters or ([] if reference.ref_model else model.adapters)
    if reference.ref_model is None:
        return find_model(replace(model, adapters=adapters)), adapters
    config = replace(model, model=reference.ref_model, adapters=adapters)
    return find_model(config, "--ref_model"), adapters


def _precompute(settings: Settings, policy: Policy, parts: list[EncodedDataset]) -> None:
    processes = policy.parallel.processes
    config = settings[TrainConfig]
    cache = settings[DataConfig].cache_dir
    folder = Path(cache).expanduser() if cache else Path.home() / ".cache" / "swiftrl"
    size = config.per_device_eval_batch_size or config.per_device_train_batch_size
    spans = [(part, start) for part in parts for start in range(0, len(part), size)]
    device = processes.device
    batches = (
        collate([part[i] for i in range(start, min(start + size, len(part)))], start).batch.to(
            device
        )
        for part, start in spans
    )
    progress = log.Progress("reference", len(spans))
    store = policy.precompute(folder / "reference")

    def prepare() -> int:
        return store.prepare(batches, on_batch=progress.update, save=processes.is_main)

    # Where a pass takes all processes, all do the same ones.
    lockstep = policy.parallel.lockstep
    computed = prepare() if lockstep else processes.main_first(prepare)
    processes.wait()
    progress.close()
    log.info(f"reference: {computed} rows computed, the others were on disk ({store.path})")
