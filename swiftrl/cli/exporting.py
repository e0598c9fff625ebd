"""The parts of `swiftrl export` put together."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from swiftrl.cli import hardware
from swiftrl.cli.loading import find_model, load_template
from swiftrl.cli.target_folder import check_target
from swiftrl.core import log
from swiftrl.core.config import Settings
from swiftrl.core.errors import ConfigError
from swiftrl.data.config import DataConfig
from swiftrl.export.config import ExportConfig, QuantConfig
from swiftrl.export.engine import OURS, check_engine, engine_format
from swiftrl.export.method import Plan, plan_of
from swiftrl.models.config import ModelConfig
from swiftrl.models.quantised import ROUND_INPUTS
from swiftrl.templates.config import TemplateConfig

if TYPE_CHECKING:
    from peft import PeftModel

    from swiftrl.backends.base import Backend
    from swiftrl.export.calibration import Samples
    from swiftrl.models.load import LoadedModel
    from swiftrl.models.resolve import Resolved

__all__ = ["merge_adapters", "quantise"]

_LONGEST = 2048
"""Tokens of a calibration row without --max_length."""


def quantise(settings: Settings) -> int:
    """Quantise a model, as the settings say, and write it.

    Raises:
        SwiftRLError: what the user must know.
    """
    _check(settings)
    plan, ours = _plan(settings[QuantConfig])
    backend = hardware.choose(settings[ModelConfig])
    # How weights are rounded here, by our own operations; elsewhere, how they are read.
    hardware.check(settings, backend, but=("quant_method",))
    backend.seed_all(settings[ExportConfig].seed)
    resolved = find_model(settings[ModelConfig])
    target = _target(settings, resolved, f"{plan.name}-int{plan.scheme.bits}")
    check_target(target, settings[ExportConfig].exist_ok)
    from swiftrl.export.by_engine import export_by_engine
    from swiftrl.export.checks import check_model, check_tokens
    from swiftrl.export.pipeline import Order, export_quantised
    from swiftrl.export.work_folder import WorkFolder

    sizes = check_model(resolved, plan, settings[QuantConfig])
    if not ours:
        check_engine(settings[QuantConfig])
    settings = _resolve(settings, resolved, plan, target)
    log.info(f"swiftrl export: {plan.title}")
    for line in settings.lines():
        log.info(f"  {line}")
    log.info(f"  on {backend.name}; result {target}")
    samples = _samples(settings, resolved)
    check_tokens(samples, sizes, plan, settings[QuantConfig])
    folder = WorkFolder(target, _fingerprint(settings, resolved, samples))
    order = Order(
        plan,
        settings[QuantConfig],
        settings[ExportConfig],
        samples,
        folder,
        target,
        settings.as_dict(),
    )
    loaded = _load(settings, resolved, backend, sizes.bytes)
    if ours:
        report = export_quantised(loaded, order, backend)
    else:
        merged = bool(settings[ModelConfig].adapters)
        report = export_by_engine(loaded, order, backend, merged=merged)
    log.info(
        f"Perplexity {report['perplexity_before']:.4f} -> {report['perplexity_after']:.4f}, "
        f"divergence {report['kl']:.5f} nats a token, same next token {report['agreement']:.1%}; "
        f"{report['bytes_after'] / report['bytes_before']:.0%} of the size."
    )
    log.info(f"Quantised model: {target} (report: {target / 'quantisation_report.md'})")
    log.info("Next:")
    if plan.form in ROUND_INPUTS:
        log.info(f"  vllm serve {target}")
    else:
        log.info(f"  swiftrl infer --model {target}")
        log.info(f"  swiftrl rlhf --model {target} --dataset DATA")
    return 0


def merge_adapters(settings: Settings) -> int:
    """Write the model with its adapters folded in."""
    from swiftrl.cli.commands.merge_lora import write_merged

    config, export = settings[ModelConfig], settings[ExportConfig]
    return write_merged(
        config, export.output_dir, exist_ok=export.exist_ok, max_shard_size=export.max_shard_size
    )


_POSITIVE = ("quant_n_samples", "quant_batch_size", "quant_eval_samples", "max_length")


def _check(settings: Settings) -> None:
    """Refuse what can be seen to be wrong without loading anything."""
    for name in _POSITIVE:
        value = settings.value(name)
        if value is not None and value < 1:
            raise ConfigError(f"--{name} {value}: expected 1 or more.")
    config, export = settings[ModelConfig], settings[ExportConfig]
    if config.adapters and export.merge_lora is False:
        raise ConfigError(
            "--merge_lora false: adapters cannot stay beside weights that are quantised with them; "
            "leave it, or leave --adapters and train others on the quantised model."
        )
    if len(config.adapters) > 1:
        raise ConfigError("--adapters: one at a time can be merged; merge the first, then go on.")
    if config.device_map is not None:
        raise ConfigError(
            "--device_map: blocks come to the device one by one here, whatever the model's size; "
            "leave it out."
        )
    data = settings[DataConfig]
    if data.streaming:
        raise ConfigError("--streaming: calibration rows are drawn from all; leave it out.")


def _plan(config: QuantConfig) -> tuple[Plan, bool]:
    """Return method and format, and whether swiftrl itself is to quantise."""
    if config.quant_backend == OURS:
        if config.quant_python is not None:
            raise ConfigError(
                f"--quant_python {config.quant_python}: is for another --quant_backend than {OURS}."
            )
        return plan_of(config), True
    return plan_of(dataclasses.replace(config, quant_format=engine_format(config))), False


def _target(settings: Settings, resolved: Resolved, suffix: str) -> Path:
    """Return the folder of the result: the one that is asked for, or one beside the source."""
    export, config = settings[ExportConfig], settings[ModelConfig]
    if export.output_dir is not None:
        return Path(export.output_dir)
    given = Path(config.adapters[0] if config.adapters else resolved.name)
    if given.is_dir():
        return given.with_name(f"{given.name}-{suffix}")
    return Path(f"{resolved.name.split('/')[-1].removeprefix('builtin:')}-{suffix}")


def _resolve(settings: Settings, resolved: Resolved, plan: Plan, target: Path) -> Settings:
    """Return the settings with everything that was left open decided."""
    from swiftrl.models.load import load_config

    text = load_config(resolved).get_text_config(decoder=True)
    room = getattr(text, "max_position_embeddings", None) or _LONGEST
    changes: dict[str, Any] = {
        "output_dir": str(target),
        "quant_bits": plan.scheme.bits,
        "quant_format": plan.form,
        "symmetric": plan.scheme.symmetric,
    }
    if settings[TemplateConfig].max_length is None:
        changes["max_length"] = min(_LONGEST, room)
    if settings[ModelConfig].torch_dtype is None:
        changes["torch_dtype"] = resolved.stored_dtype
    return settings.replace(**changes)


def _samples(settings: Settings, resolved: Resolved) -> Samples:
    from swiftrl.data.rejects import REJECTS_FILE
    from swiftrl.export.calibration import draw_samples

    data, quant = settings[DataConfig], settings[QuantConfig]
    samples = draw_samples(
        data,
        load_template(settings, resolved, text_only=True),
        calibration=quant.quant_n_samples,
        held_out=quant.quant_eval_samples,
        max_length=settings[TemplateConfig].max_length,
        truncation_strategy=settings[TemplateConfig].truncation_strategy,
        seed=settings[ExportConfig].seed,
        use_hf=settings[ModelConfig].use_hf,
    )
    if samples.rejects:
        log.warn(
            f"{len(samples.rejects)} rows were set aside (in {REJECTS_FILE} beside the result); "
            f"the first, {samples.rejects[0]}"
        )
    return samples


def _fingerprint(settings: Settings, resolved: Resolved, samples: Samples) -> dict[str, str]:
    """Return hashes of all that the quantised weights depend on."""
    from swiftrl import __version__
    from swiftrl.export.work_folder import fingerprint_of, folder_stamp

    config, quant = settings[ModelConfig], settings[QuantConfig]
    # What decides only about the result being written.
    other = {"quant_max_kl", "force"}
    chosen = {k: v for k, v in dataclasses.asdict(quant).items() if k not in other}
    folders = [resolved.path, *map(Path, config.adapters)]
    return {
        "settings": fingerprint_of([chosen, config.torch_dtype, config.attn_impl, __version__]),
        "model": fingerprint_of([[str(f.absolute()), folder_stamp(f)] for f in folders]),
        "data": samples.fingerprint,
    }


def _load(settings: Settings, resolved: Resolved, backend: Backend, size: int) -> LoadedModel:
    """Return the model with its adapters merged: on the device if it fits, else on the host."""
    from swiftrl.models.load import load_model
    from swiftrl.models.lora import load_adapters, merge

    config = settings[ModelConfig]
    free = backend.mem_info(backend.current_device().index or 0).free
    fits = size * 1.3 < free
    if not fits:
        log.info(
            f"The model's {size / 2**30:.1f} GiB do not leave the device room to work: its blocks "
            "come there one by one."
        )
    loaded = load_model(
        resolved, config, backend, dtype=config.torch_dtype, place="device" if fits else "host"
    )
    if not config.adapters:
        return loaded
    merged = merge(cast("PeftModel", load_adapters(loaded.model, config.adapters)))
    return dataclasses.replace(loaded, model=merged)
