"""Models whose files hold quantised weights: which format they are in, and what can train."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from swiftrl.core.errors import ConfigError, ModelError
from swiftrl.models.config import TunerConfig
from swiftrl.models.resolve import Resolved

if TYPE_CHECKING:
    from swiftrl.quant.format import Format
    from swiftrl.quant.scheme import Scheme

__all__ = [
    "ROUND_INPUTS",
    "Stored",
    "check_trainable",
    "section_of",
    "stored_as",
    "stored_quantisation",
]

_MOVES_WEIGHTS = ("pissa", "olora")
ROUND_INPUTS = ("w8a8", "fp8")
"""Formats whose readers round inputs too: for serving, and to transformers, not to train on."""


@dataclass(frozen=True, slots=True)
class Stored:
    """How a folder's linear layers are quantised.

    Attributes:
        name: of the format.
        form: reads its layers.
        scheme: of all layers.
    """

    name: str
    form: Format
    scheme: Scheme


def section_of(config: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return `quantization_config` of a config.json, the language model's included, or None."""
    inner = config.get("text_config")
    found = config.get("quantization_config")
    if not found and isinstance(inner, Mapping):
        found = inner.get("quantization_config")
    return found if isinstance(found, Mapping) else None


def stored_as(section: Mapping[str, Any]) -> Stored | None:
    """Return what a `quantization_config` says; None if transformers is to read it itself.

    Raises:
        ConfigError: a layout that is not served.
    """
    from swiftrl.quant.format import FORMATS

    for name, form in FORMATS.items():
        scheme = form.from_config(section)
        if scheme is not None:
            return None if name in ROUND_INPUTS else Stored(name, form, scheme)
    return None


def stored_quantisation(resolved: Resolved) -> Stored | None:
    """Return how a folder's layers are quantised; None if not, or transformers reads them.

    Raises:
        ModelError: in a layout that is not served.
    """
    section = section_of(resolved.config)
    try:
        return None if section is None else stored_as(section)
    except ConfigError as error:
        raise ModelError(f"{resolved.path}/config.json: {error}") from None


def check_trainable(resolved: Resolved, tuner: TunerConfig) -> None:
    """Refuse to train quantised weights themselves; adapters on them train.

    Raises:
        ConfigError: the settings would.
        ModelError: the layout of the weights is not served.
    """
    section = section_of(resolved.config)
    if section is None:
        return
    stored = stored_quantisation(resolved)
    method = section.get("quant_method", "quantised")
    if stored is None and method == "compressed-tensors":
        raise ConfigError(
            f"--model {resolved.name}: its {section.get('format')} weights are made for serving: "
            "their inputs are rounded too. Train on the original model, or on its weights in "
            "4 bits (swiftrl export --quant_method gptq)."
        )
    if tuner.tuner_type == "full":
        raise ConfigError(
            f"--tuner_type full: {resolved.name} holds {method} weights, which cannot be trained "
            "themselves. Use --tuner_type lora, or give the unquantised model."
        )
    if tuner.init_weights in _MOVES_WEIGHTS:
        raise ConfigError(
            f"--init_weights {tuner.init_weights} changes the base weights, which {resolved.name} "
            f"holds as {method}; use --init_weights true, gaussian or orthogonal."
        )
