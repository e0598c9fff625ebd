"""`swiftrl models`: the models known by name, and which family a model belongs to."""

from __future__ import annotations

import json
from dataclasses import dataclass

from swiftrl.cli.command import Command
from swiftrl.core import log
from swiftrl.core.config import Settings, setting
from swiftrl.core.errors import ConfigError
from swiftrl.models.catalog import tested_of
from swiftrl.models.identify import identify
from swiftrl.models.listing import MODALITIES, Found, counts, find, record
from swiftrl.models.remote_code import needs_remote_code
from swiftrl.models.spec import HubId, ModelSpec

__all__ = ["COMMAND", "ListConfig"]


@dataclass(frozen=True)
class ListConfig:
    """Which models to list."""

    search: str | None = setting(
        None, "Words that occur in the family's name, an architecture or the id, in any case."
    )
    modality: str | None = setting(
        None,
        "text: models that take nothing else; image, video, audio: those that take it; vision: "
        "image or video.",
        choices=MODALITIES,
    )
    of: str | None = setting(
        None, "A folder, config.json or hub id: says which family it is, from what it holds."
    )
    json: bool = setting(False, "Print one JSON object: counts, and under models one per id.")


def run(settings: Settings) -> int:
    """List models, or say what one is."""
    config = settings[ListConfig]
    if config.of is not None:
        found = [_family_of(config.of)]
    else:
        found = find(config.search, config.modality)
    if config.json:
        models = [record(spec, hub) for spec, ids in found for hub in ids]
        log.info(json.dumps({**counts(found), "models": models}, ensure_ascii=False, indent=1))
    else:
        _show(found, with_ids=bool(config.search or config.of))
    return 0


def _family_of(model: str) -> Found:
    spec = identify(model)
    if spec is None:
        raise ConfigError(
            f"--of {model}: its architecture is in no listed family. A model with a chat template "
            "of its own trains all the same; for one without, choose a template with --template."
        )
    return spec, spec.hub_ids


def _show(found: list[Found], *, with_ids: bool) -> None:
    if not found:
        log.info("No listed model matches. Models that are not listed train too, by their folder.")
        return
    columns = ["Family", "Models", "Takes", "Template", "Tool calls", "For", "Tested"]
    log.table("Models", columns, [_row(spec, ids, with_ids) for spec, ids in found])
    number = counts(found)
    log.info(
        f"{number['text_ids']} text and {number['multimodal_ids']} multimodal models, "
        f"{number['families']} families, {number['architectures']} architectures. Tested: tiny = a "
        "small random model of the architecture goes through every check; listed = by name only; "
        "not loaded = the architecture is code beside the weights, which is never run "
        f"({number['remote_code_ids']} of these models)."
    )


def _row(spec: ModelSpec, ids: tuple[HubId, ...], with_ids: bool) -> list[str]:
    return [
        spec.name,
        "\n".join(_id(hub) for hub in ids) if with_ids else str(len(ids)),
        " ".join(spec.modalities),
        spec.template or "its own",
        spec.tool_syntax or "by its template",
        " ".join(spec.capabilities),
        "not loaded" if needs_remote_code(spec) else tested_of(spec),
    ]


def _id(hub: HubId) -> str:
    if hub.modelscope is None:
        return f"{hub.huggingface} (HF only)"
    if hub.huggingface is None:
        return f"{hub.modelscope} (ModelScope only)"
    same = hub.huggingface == hub.modelscope
    return hub.modelscope if same else f"{hub.modelscope} (HF: {hub.huggingface})"


COMMAND = Command(
    summary="List the models known by name.",
    description="List the models known by name with what they take, were made for and how they "
    "are tested; `--of` says which family a folder is. Models that are not listed train too.",
    groups=lambda argv: [ListConfig],
    run=run,
    needs_torch=False,
)
