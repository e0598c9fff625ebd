"""`swiftrl export`: a model in few bits, or with its adapters folded in."""

from __future__ import annotations

from collections.abc import Sequence

from swiftrl.cli.command import Command
from swiftrl.cli.swift_flags import QUANT, why_refused
from swiftrl.core.config import Settings
from swiftrl.core.errors import ConfigError
from swiftrl.data.config import DataConfig
from swiftrl.export.config import ExportConfig, QuantConfig
from swiftrl.models.config import ModelConfig
from swiftrl.templates.config import TemplateConfig

__all__ = ["COMMAND"]


def run(settings: Settings) -> int:
    """Quantise, or merge."""
    from swiftrl.cli.exporting import merge_adapters, quantise

    if settings[QuantConfig].quant_method is not None:
        return quantise(settings)
    if settings[ExportConfig].merge_lora:
        return merge_adapters(settings)
    raise ConfigError(
        "nothing to export: give --quant_method (gptq, awq, rtn, ...), or --adapters with "
        "--merge_lora true."
    )


def groups(argv: Sequence[str]) -> list[type]:
    """Return the settings groups."""
    return [ModelConfig, ExportConfig, QuantConfig, DataConfig, TemplateConfig]


def _refuse(flag: str, argv: Sequence[str]) -> str | None:
    """Say why a flag is refused; that it belongs to this command is no reason here."""
    reason = why_refused(flag)
    return None if reason == QUANT else reason


COMMAND = Command(
    summary="Quantise a model, checked against the original; or merge adapters.",
    description="Quantise a model's weights with --quant_method, adapters merged first: rows "
    "calibrate, blocks are quantised one by one, the result is compared with the original on "
    "held-out rows and written in a format that transformers, vLLM and GPTQModel read. An "
    "interrupted run goes on when the same command is given again. With --merge_lora true alone, "
    "write the model with its adapters folded in.",
    groups=groups,
    run=run,
    refuse=_refuse,
)
