"""`swiftrl template`: rows as the model sees them, with the tokens that train marked."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

from swiftrl.cli.command import Command
from swiftrl.cli.swift_flags import why_refused
from swiftrl.core import log
from swiftrl.core.config import Settings, setting
from swiftrl.core.errors import ConfigError
from swiftrl.data.rows import KINDS
from swiftrl.models.config import ModelConfig
from swiftrl.templates.config import TemplateConfig

__all__ = ["COMMAND", "ViewConfig"]


@dataclass(frozen=True)
class ViewConfig:
    """What to show."""

    data: list[str] = setting(
        [], "Data in the syntax of --dataset. Unset: only what the template does is shown."
    )
    kind: str | None = setting(
        None,
        "What the rows are read as. Unset: what each row looks like.",
        choices=KINDS,
    )
    rows: int = setting(3, "Rows shown, from the first; 0 shows all (or #n of --data).")
    columns: dict[str, str] = setting({}, 'Columns to rename, as JSON: {"found": "expected"}.')
    json: bool = setting(False, "Print JSON, one object a row, every token with its weight.")


def run(settings: Settings) -> int:
    """Show the template's probe and the first rows."""
    config, view = settings[TemplateConfig], settings[ViewConfig]
    if config.truncation_strategy and not config.max_length:
        raise ConfigError("--truncation_strategy needs --max_length here: no weights are read.")
    from swiftrl.cli.loading import find_model, load_template
    from swiftrl.templates.view import describe

    template = load_template(settings, find_model(settings[ModelConfig]))
    if not view.json:
        _show_probe(describe(template))
    elif not view.data:
        _print_json(describe(template))
    for name in view.data:
        _show_rows(settings, template, name)
    return 0


def _show_probe(found: dict[str, Any]) -> None:
    log.table("Template", ["", ""], [(name, _text(value)) for name, value in found.items()])


def _text(value: Any) -> str:
    if isinstance(value, list):
        return "  ".join(repr(item) for item in value)
    return repr(value) if isinstance(value, str) and value != value.strip() else str(value)


def _show_rows(settings: Settings, template: Any, name: str) -> None:
    from itertools import islice

    from swiftrl.data.row_encoder import TemplateRowEncoder
    from swiftrl.data.schema import detect_kind
    from swiftrl.data.sources import DatasetSpec, iter_rows

    config, view = settings[TemplateConfig], settings[ViewConfig]
    spec = DatasetSpec.parse(name)
    limits = [limit for limit in (view.rows, spec.sample) if limit]
    rows = iter_rows(spec, use_hf=settings[ModelConfig].use_hf)
    for raw in islice(rows, min(limits, default=None)):
        kind = view.kind or detect_kind(raw, view.columns)
        encoder = TemplateRowEncoder(
            template,
            kind,  # type: ignore[arg-type]
            columns=view.columns,
            max_length=config.max_length,
            truncation_strategy=config.truncation_strategy or "raise",
            train=config.loss_scale or "default",  # type: ignore[arg-type]
        )
        for row in encoder(raw):
            _show_row(template, row, kind, as_json=view.json)


def _show_row(template: Any, row: Any, kind: str, *, as_json: bool) -> None:
    from swiftrl.templates.view import coloured, json_view, plain

    names = ("chosen", "rejected") if kind == "preference" else (kind,)
    if as_json:
        sequences = [json_view(template, encoded) for encoded in row.sequences]
        named = [{"name": n, **s} for n, s in zip(names, sequences, strict=True)]
        _print_json({"origin": str(row.origin), "kind": kind, "sequences": named})
        return
    draw = coloured if sys.stdout.isatty() else plain
    for label, encoded in zip(names, row.sequences, strict=True):
        log.info(
            f"\n--- {row.origin} {label}: {len(encoded)} tokens, {encoded.num_trained} trained"
        )
        log.info(draw(template, encoded))


def _print_json(value: Any) -> None:
    import json

    log.info(json.dumps(value, ensure_ascii=False))


COMMAND = Command(
    summary="Show rows as the model sees them, with what trains marked.",
    description="Show what a model's chat template does, and rows as tokens with the trained ones "
    "marked: green on a terminal, between double angle quotes elsewhere, or as JSON.",
    groups=lambda argv: [ModelConfig, TemplateConfig, ViewConfig],
    run=run,
    refuse=lambda flag, argv: why_refused(flag),
)
