"""`swiftrl export`: a model in few bits, or with its adapters folded in."""

from __future__ import annotations

from collections.abc import Sequence

from swiftrl.backends.importing import import_torch
from swiftrl.cli.command import Command
from swiftrl.cli.swift_flags import QUANT, why_refused
from swiftrl.core.config import Settings, options_of
from swiftrl.core.errors import ConfigError
from swiftrl.core.parse import flag_values
from swiftrl.data.config import DataConfig
from swiftrl.export.config import ExportConfig, QuantConfig
from swiftrl.export.publish.config import PublishConfig
from swiftrl.export.publish.target import TARGETS
from swiftrl.models.config import ModelConfig
from swiftrl.templates.config import TemplateConfig

__all__ = ["COMMAND"]


def run(settings: Settings) -> int:
    """Quantise, merge, publish."""
    if settings[PublishConfig].to is not None:
        from swiftrl.cli.publishing import publish_model

        return publish_model(settings)
    import_torch()
    from swiftrl.cli.exporting import merge_adapters, quantise

    if settings[QuantConfig].quant_method is not None:
        return quantise(settings)
    if settings[ExportConfig].merge_lora:
        return merge_adapters(settings)
    raise ConfigError(
        "nothing to export: give --quant_method (gptq, awq, rtn, ...), or --adapters with "
        "--merge_lora true, or --to with a model folder (local, huggingface, oss, s3, ollama, ...)."
    )


def groups(argv: Sequence[str]) -> list[type]:
    """Return the settings groups, the target's own last."""
    shared = [ModelConfig, ExportConfig, QuantConfig, DataConfig, TemplateConfig, PublishConfig]
    chosen = flag_values(argv, "to")
    return [*shared, *(TARGETS.get(chosen[0]).settings if chosen else ())]


def _targets_groups(argv: Sequence[str]) -> list[type]:
    """Return the settings groups of all targets."""
    return list(dict.fromkeys(group for _, target in TARGETS.items() for group in target.settings))


def _refuse(flag: str, argv: Sequence[str]) -> str | None:
    """Say why a flag is refused; that it belongs to this command is no reason here."""
    owners = [name for name, target in TARGETS.items() if flag in options_of(target.settings)]
    if owners:
        return f"belongs to --to {', '.join(owners)}."
    if flag == "push_to_hub":
        return "use --to huggingface or --to modelscope."
    if flag == "to_ollama":
        return "use --to ollama."
    reason = why_refused(flag)
    return None if reason == QUANT else reason


COMMAND = Command(
    summary="Quantise a model, merge adapters, bring it to hubs, clouds and servers.",
    description="Quantise a model's weights with --quant_method, adapters merged first: rows "
    "calibrate, blocks are quantised one by one, the result is compared with the original on "
    "held-out rows and written in a format that transformers, vLLM and GPTQModel read. An "
    "interrupted run goes on when the same command is given again. With --merge_lora true alone, "
    "write the model with its adapters folded in. With --to, bring the result, or the folder of "
    "--model, to a hub, an object store, a service, or write the files that serve it: steps are "
    "plan, upload, register, deploy, verify and cleanup, and a killed run goes on where it was.",
    groups=groups,
    run=run,
    refuse=_refuse,
    shown_in_help=_targets_groups,
    needs_torch=False,
)
