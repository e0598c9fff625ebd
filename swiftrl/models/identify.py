"""Which family a model belongs to: from its id, folder or bare config.json, without a network."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from swiftrl.core.errors import ModelError
from swiftrl.models.catalog import by_architecture, by_hub_id
from swiftrl.models.evidence import Evidence
from swiftrl.models.folder import read_json
from swiftrl.models.spec import ModelSpec

__all__ = ["architecture_of", "family_of", "identify"]

# Keys of config.json under which models keep what their towers look like.
_TOWERS = ("vision", "visual", "audio", "image", "thinker")
_CACHE_FOLDER = re.compile(r"models--([^/]+?)--([^/]+)")


def identify(model: str) -> ModelSpec | None:
    """Return the family of a hub id, a local folder or a config.json; None if none lists it.

    Nothing is downloaded, and no weights are needed.

    Raises:
        ModelError: no such file and no listed id, a damaged file, or families that only the user
            can tell apart.
    """
    path = Path(model).expanduser()
    file = path / "config.json" if path.is_dir() else path
    if file.is_file():
        return family_of(model, file.parent, read_json(file))
    spec = by_hub_id(model)
    if spec is None:
        raise ModelError(
            f"{model}: neither a listed id nor a folder with a config.json. `swiftrl models "
            "--search NAME` lists ids."
        )
    return spec


def family_of(asked: str, folder: Path, config: Mapping[str, Any]) -> ModelSpec | None:
    """Return the family of a model in a folder, or None if no family has its architecture.

    An id that a family lists decides; then what the folder holds (`ModelSpec.markers`); then the
    names it was published under. Families that are left and agree in everything that training
    depends on count as one.

    Args:
        asked: what the user typed.
        folder: holds the config and, where there is one, the tokenizer.
        config: config.json.

    Raises:
        ModelError: several families fit, and they differ in what training depends on.
    """
    candidates = by_architecture(architecture_of(config))
    names = _names(asked, folder, config)
    listed = by_hub_id(asked)
    if listed in candidates or len(candidates) < 2:
        return listed if listed in candidates else next(iter(candidates), None)
    evidence = Evidence(config, folder, names)
    verdicts = [(spec, evidence.holds(spec.markers)) for spec in _seeing(candidates, config)]
    proven = [spec for spec, holds in verdicts if holds and spec.markers]
    if proven:
        most = max(len(spec.markers) for spec in proven)
        left = [spec for spec in proven if len(spec.markers) == most]
    else:
        left = [spec for spec, holds in verdicts if holds is not False]
    left = _published_as(names, left) or left
    # With nothing left the architecture is known and the family is not: any may be the one.
    return _agreed(left or candidates, evidence)


def architecture_of(config: Mapping[str, Any]) -> str:
    """Return the model's class name, from its model type where config.json names no class."""
    named = next(iter(config.get("architectures") or ()), None)
    if named is not None or not config.get("model_type"):
        return named or ""
    from transformers.models.auto import modeling_auto

    for mapping in (
        modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        modeling_auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
    ):
        if config["model_type"] in mapping:
            return str(mapping[config["model_type"]])
    return ""


def _names(asked: str, folder: Path, config: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names a model goes by: as typed, as its folder, and as its config remembers."""
    cached = _CACHE_FOLDER.search(folder.as_posix())
    names = (
        asked if by_hub_id(asked) or not Path(asked).exists() else "",
        "/".join(cached.groups()) if cached else folder.absolute().name,
        str(config.get("_name_or_path") or ""),
    )
    return tuple(name for name in names if name)


def _published_as(names: Sequence[str], specs: Sequence[ModelSpec]) -> list[ModelSpec]:
    """Return the family of `specs` that lists one of the names, with or without its owner."""
    for name in names:
        short = name.lower().rsplit("/", 1)[-1]
        for spec in specs:
            ids = {id.lower() for hub in spec.hub_ids for id in hub.known}
            if short in {id.rsplit("/", 1)[-1] for id in ids}:
                return [spec]
    return []


def _seeing(specs: Sequence[ModelSpec], config: Mapping[str, Any]) -> Sequence[ModelSpec]:
    """Return the multimodal ones of `specs` if the config has towers, else the text ones."""
    towers = any(
        name in key and isinstance(value, Mapping)
        for key, value in config.items()
        for name in _TOWERS
    )
    return [spec for spec in specs if (set(spec.modalities) != {"text"}) == towers] or specs


def _agreed(specs: Sequence[ModelSpec], evidence: Evidence) -> ModelSpec:
    """Return the plainest of families that agree in what matters for this folder.

    What follows from the model's text alone and differs among them (tool calls, reasoning, the
    library's template) is left open, to be read from the chat template or to be chosen.
    """
    plainest = min(specs, key=lambda spec: len(spec.markers))
    if any(_differs(spec, plainest, evidence) for spec in specs):
        raise ModelError(_undecided(specs, evidence))
    return replace(
        plainest,
        template=_common([spec for spec in specs if spec.template], lambda spec: spec.template),
        tool_syntax=_common(specs, lambda spec: spec.tool_syntax),
        reasoning=_common(specs, lambda spec: spec.reasoning),
    )


def _common(specs: Sequence[ModelSpec], read: Callable[[ModelSpec], str | None]) -> str | None:
    values = {read(spec) for spec in specs}
    return values.pop() if len(values) == 1 else None


def _differs(spec: ModelSpec, plainest: ModelSpec, evidence: Evidence) -> bool:
    """Return whether a family would make something of a folder that the plainest one does not."""
    if (spec.towers, spec.modalities) != (plainest.towers, plainest.modalities):
        return True
    return not _extra_stops(spec, evidence) <= _extra_stops(plainest, evidence)


def _template(spec: ModelSpec, evidence: Evidence) -> str | None:
    """Return the library's template for a model without its own, if the tokenizer suits it."""
    if evidence.template or not evidence.has_tokenizer:
        return None
    stops = spec.stop_tokens
    return spec.template if not stops or evidence.tokens & set(stops) else None


def _extra_stops(spec: ModelSpec, evidence: Evidence) -> frozenset[str]:
    """Return the stop tokens that the tokenizer has and that nothing else would bring in."""
    held = evidence.tokens & set(spec.stop_tokens) - {evidence.eos}
    return frozenset(token for token in held if token not in evidence.template)


def _undecided(specs: Sequence[ModelSpec], evidence: Evidence) -> str:
    choices = []
    for spec in specs:
        stops = " ".join(sorted(evidence.tokens & set(spec.stop_tokens))) or "its EOS"
        template = _template(spec, evidence) or "its own"
        choices.append(f"{spec.name} (stop tokens: {stops}; template: {template})")
    return (
        f"{evidence.folder}: {architecture_of(evidence.config)} is the architecture of several "
        "families, and nothing in the folder says which of them this model is. Choose with "
        f"--model_type: {'; '.join(choices)}."
    )
