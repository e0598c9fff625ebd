"""A model without weights: every module and shape that config.json describes, nothing stored."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from swiftrl.core.errors import ConfigError, ModelError
from swiftrl.models.builtin_models import builtin_path
from swiftrl.models.catalog import by_name
from swiftrl.models.folder import read_json
from swiftrl.models.hub import download, is_hub_id
from swiftrl.models.identify import family_of
from swiftrl.models.load import load_config, model_class
from swiftrl.models.quiet import quiet_transformers
from swiftrl.models.resolve import Resolved

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

__all__ = ["resolve_config", "skeleton"]

_SMALL_FILES = ["*.json", "*.jinja", "*.model", "*.tiktoken", "*.txt"]
"""Of a hub's folder: configuration and tokenizer, never weights."""


def resolve_config(
    model: str | None,
    changes: Mapping[str, Any],
    *,
    use_hf: bool = False,
    revision: str | None = None,
    model_type: str | None = None,
    token: str | None = None,
) -> Resolved:
    """Find a model's configuration; weights need not exist and are never downloaded.

    Args:
        model: a local folder, a config.json, "builtin:NAME", a hub id, or None.
        changes: fields of config.json that take the place of the model's; all of them without
            `model`.
        use_hf: look hub ids up on Hugging Face instead of ModelScope.
        revision: branch, tag or commit on the hub.
        model_type: the registry entry to use, whatever the configuration says.
        token: for private repositories.

    Raises:
        ModelError: there is no configuration.
        ConfigError: neither a model nor its shape is given.
    """
    if model is None and not changes.get("model_type"):
        raise ConfigError(
            "--model is missing: a folder, a config.json, a hub id or builtin:tiny-instruct; or "
            'the shape itself, --model_shape \'{"model_type": "llama", "hidden_size": 8192, ...}\'.'
        )
    file = None
    if model is not None:
        path = _find(model, use_hf=use_hf, revision=revision, token=token)
        file = path / "config.json" if path.is_dir() else path
        if not file.is_file():
            raise ModelError(f"--model {model}: has no config.json.")
    stored = read_json(file) if file is not None else {}
    config = _merged(stored, changes)
    if not config.get("architectures") and not config.get("model_type"):
        raise ModelError(
            f'{file}: names neither "architectures" nor "model_type"; it is not the configuration '
            "of a transformers model."
        )
    folder = file.parent if file is not None else Path()
    name = model or f"a {config['model_type']} by --model_shape"
    spec = by_name(model_type) if model_type else family_of(name, folder, config)
    return Resolved(folder, name, spec, config)


def _find(model: str, *, use_hf: bool, revision: str | None, token: str | None) -> Path:
    if model.startswith("builtin:"):
        return builtin_path(model)
    path = Path(model).expanduser()
    if path.exists():
        return path
    if is_hub_id(model):
        return download(model, use_hf=use_hf, revision=revision, token=token, only=_SMALL_FILES)
    raise ModelError(
        f"--model {model}: no such folder or file (looked for {path.absolute()}). Expected a "
        "folder with a config.json, the file itself, builtin:NAME, or a hub id."
    )


def _merged(stored: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(stored)
    for name, value in changes.items():
        inner = merged.get(name)
        both = isinstance(value, Mapping) and isinstance(inner, Mapping)
        merged[name] = _merged(inner, value) if both else value  # type: ignore[arg-type]
    return merged


def _config_of(resolved: Resolved) -> PretrainedConfig:
    """Return the configuration as transformers understands it, changes included."""
    stored = resolved.path / "config.json"
    if stored.is_file() and read_json(stored) == resolved.config:
        return load_config(resolved)
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    kind = str(resolved.config.get("model_type"))
    if kind not in CONFIG_MAPPING:
        raise ModelError(f"{resolved.name}: transformers knows no model_type {kind!r}.")
    try:
        return CONFIG_MAPPING[kind].from_dict(resolved.config)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise ModelError(f"{resolved.name}: not a configuration of {kind}: {error}") from error


def skeleton(resolved: Resolved) -> PreTrainedModel:
    """Return the model of a configuration on torch's meta device.

    Args:
        resolved: its configuration.

    Raises:
        ModelError: transformers does not know it, or its numbers contradict each other.
    """
    config = _config_of(resolved)
    architecture = model_class(resolved)
    try:
        with quiet_transformers(), torch.device("meta"):
            model = architecture(config)
    except (TypeError, ValueError, AttributeError, RuntimeError, LookupError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(
            f"{resolved.name}: {architecture.__name__} cannot be built from this config.json: "
            f"{first}. Correct its numbers."
        ) from error
    model.tie_weights()
    return model
