"""`swiftrl data check`: what is in data files, before any training."""

from __future__ import annotations

from dataclasses import dataclass

from swiftrl.cli.command import Command
from swiftrl.cli.swift_flags import why_refused
from swiftrl.core import log
from swiftrl.core.config import Settings, setting
from swiftrl.core.errors import ConfigError
from swiftrl.data.rows import KINDS
from swiftrl.models.config import ModelConfig
from swiftrl.templates.config import TemplateConfig

__all__ = ["COMMAND", "CheckConfig"]


@dataclass(frozen=True)
class CheckConfig:
    """What to check."""

    action: list[str] = setting(
        [], "check, then the data: files, folders, hub ids or builtin:NAME (the flag's name may "
        "be left out)."
    )  # fmt: skip
    kind: str | None = setting(
        None,
        "What the rows must serve as. Unset: what each row looks like.",
        choices=KINDS,
    )
    columns: dict[str, str] = setting({}, 'Columns to rename, as JSON: {"found": "expected"}.')
    dataset_info: str | None = setting(None, "A LLaMA-Factory dataset_info.json.")
    json: bool = setting(False, "Print the report as JSON.")


def run(settings: Settings) -> int:
    """Print the report; 0 if every row can be used, else 2."""
    wanted = settings[CheckConfig]
    if wanted.action[:1] != ["check"] or len(wanted.action) < 2:
        raise ConfigError("expected: swiftrl data check FILE ... [--model MODEL]")
    template = None
    if settings[ModelConfig].model:
        from swiftrl.backends.importing import import_torch
        from swiftrl.cli.loading import find_model, load_template

        import_torch()
        template = load_template(settings, find_model(settings[ModelConfig]))
    from swiftrl.data.check import check

    config = settings[TemplateConfig]
    report = check(
        wanted.action[1:],
        template,
        kind=wanted.kind,  # type: ignore[arg-type]
        columns=wanted.columns,
        dataset_info=wanted.dataset_info,
        max_length=config.max_length,
        use_hf=settings[ModelConfig].use_hf,
    )
    if wanted.json:
        import json

        log.info(json.dumps(report.to_json(), indent=2, ensure_ascii=False))
    else:
        report.show()
        if template is None:
            log.info("Lengths and truncations: add --model MODEL.")
    return 0 if report.ok else 2


COMMAND = Command(
    summary="Check data files: types, lengths, duplicates, bad rows.",
    description="swiftrl data check FILE ...: report the rows of data files by kind and format, "
    "duplicates, bad rows with their reasons, and with --model lengths and truncations.",
    groups=lambda argv: [CheckConfig, ModelConfig, TemplateConfig],
    run=run,
    needs_torch=False,
    refuse=lambda flag, argv: why_refused(flag),
    positional="action",
)
