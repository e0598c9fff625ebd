"""The registry as lists: models by name and modality, and how many there are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from swiftrl.models.catalog import all_specs, tested_of, untested_because
from swiftrl.models.derived import derived
from swiftrl.models.remote_code import needs_remote_code
from swiftrl.models.spec import HubId, ModelSpec

__all__ = ["MODALITIES", "Found", "counts", "find", "record"]

MODALITIES = ("text", "image", "video", "audio", "vision")
Found = tuple[ModelSpec, tuple[HubId, ...]]


def find(search: str | None = None, modality: str | None = None) -> list[Found]:
    """Return families with their published models, sorted by the family's name.

    Args:
        search: words that must all occur, in any case, in the family's name, an architecture or
            the id; a family whose name or architecture has them is listed with all its models.
        modality: "text" lists the families that take nothing else; "image", "video" and "audio"
            those that take it, "vision" those that take image or video.
    """
    words = (search or "").lower().split()
    found: list[Found] = []
    for spec in sorted(all_specs(), key=lambda spec: spec.name):
        if modality is not None and not _takes(spec, modality):
            continue
        ids = spec.hub_ids
        about = " ".join((spec.name, *spec.architectures)).lower()
        if not all(word in about for word in words):
            ids = tuple(hub for hub in ids if _matches(f"{about} {_text(hub)}", words))
            if not ids:
                continue
        found.append((spec, ids))
    return found


def counts(found: Sequence[Found]) -> dict[str, int]:
    """Return the numbers of ids, architectures and families.

    "remote_code_ids" are those, of the text and multimodal ones, that transformers does not
    implement; "huggingface_only" and "modelscope_only" those known on one hub alone.
    """
    text = sum(len(ids) for spec, ids in found if _takes(spec, "text"))
    hubs = [hub for _, ids in found for hub in ids]
    return {
        "text_ids": text,
        "multimodal_ids": sum(len(ids) for _, ids in found) - text,
        "remote_code_ids": sum(len(ids) for spec, ids in found if needs_remote_code(spec)),
        "huggingface_only": sum(hub.modelscope is None for hub in hubs),
        "modelscope_only": sum(hub.huggingface is None for hub in hubs),
        "architectures": len({name for spec, _ in found for name in spec.architectures}),
        "families": len(found),
    }


def record(spec: ModelSpec, hub: HubId) -> dict[str, Any]:
    """Return one published model as plain values, for JSON.

    What the family's entry leaves to its template or architecture is filled in; "sources" says
    where each such value comes from.
    """
    known = derived(spec)
    return {
        "modelscope": hub.on(use_hf=False),
        "huggingface": hub.on(use_hf=True),
        "model_type": spec.name,
        "architectures": list(spec.architectures),
        "modalities": list(spec.modalities),
        "template": spec.template,
        "stop_tokens": list(known.stop_tokens),
        "tool_syntax": known.tool_syntax,
        "reasoning": known.reasoning,
        "capabilities": list(spec.capabilities),
        "lora_targets": list(spec.lora_targets),
        "towers": {"vision": list(spec.towers.vision), "aligner": list(spec.towers.aligner)},
        "quant_groups": [list(group) for group in known.quant_groups],
        "min_transformers": known.min_transformers,
        "requires": list(spec.requires),
        "remote_code": needs_remote_code(spec),
        "tested": tested_of(spec),
        "untested_because": untested_because(spec),
        "sources": dict(known.sources),
    }


def _takes(spec: ModelSpec, modality: str) -> bool:
    if modality == "text":
        return set(spec.modalities) == {"text"}
    wanted = {"image", "video"} if modality == "vision" else {modality}
    return bool(wanted & set(spec.modalities))


def _text(hub: HubId) -> str:
    return " ".join(hub.known).lower()


def _matches(text: str, words: Sequence[str]) -> bool:
    return all(word in text for word in words)
