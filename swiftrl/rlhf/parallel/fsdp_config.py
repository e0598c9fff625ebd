"""What --fsdp says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swiftrl.core.errors import ConfigError
from swiftrl.core.registry import did_you_mean

__all__ = ["FsdpSettings", "read_fsdp"]

PRESETS = ("fsdp2", "fsdp2_offload")
WORDS = ("full_shard", "shard_grad_op", "auto_wrap", "offload")
KEYS = (
    "activation_checkpointing", "auto_wrap_policy", "cpu_ram_efficient_loading",
    "offload_params", "reshard_after_forward", "state_dict_type", "version",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class FsdpSettings:
    """How a model is sharded.

    Attributes:
        offload: parts of weights, gradients and optimizer state stay in the host's memory.
        reshard_after_forward: let a layer's weights go between its forward and backward pass.
        load_on_main: one process reads the weights and gives the others their parts.
        sharded_checkpoints: what resuming needs is written in parts, by every process.
        activation_checkpointing: sets --gradient_checkpointing; None leaves it.
    """

    offload: bool = False
    reshard_after_forward: bool = True
    load_on_main: bool = True
    sharded_checkpoints: bool = True
    activation_checkpointing: bool | None = None


def read_fsdp(value: str) -> FsdpSettings:
    """Return what --fsdp asks for.

    Args:
        value: "fsdp2", "fsdp2_offload", or a JSON file as ms-swift and transformers write it: an
            object with "fsdp" (words) and "fsdp_config" (an object), or the latter alone.

    Raises:
        ConfigError: it is none of these, or asks for what is not there.
    """
    if value in PRESETS:
        return FsdpSettings(offload=value == "fsdp2_offload")
    path = Path(value)
    if path.suffix != ".json" and not path.is_file():
        raise ConfigError(
            f"--fsdp {value}: expected {', '.join(PRESETS)} or a JSON file."
            + did_you_mean(value, PRESETS)
        )
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"--fsdp {value}: cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise ConfigError(f"--fsdp {value}: not JSON: {error}.") from error
    if not isinstance(found, dict):
        raise ConfigError(f"--fsdp {value}: expected a JSON object.")
    return _from_file(value, found)


def _from_file(value: str, found: Mapping[str, Any]) -> FsdpSettings:
    words: Any = found.get("fsdp", "")
    words = words.split() if isinstance(words, str) else words
    config = found.get("fsdp_config", {k: v for k, v in found.items() if k != "fsdp"})
    for word in words:
        if word not in WORDS:
            raise ConfigError(
                f'--fsdp {value}: "fsdp": found {word}; expected words of {", ".join(WORDS)}.'
                + did_you_mean(word, WORDS)
            )
    config = {key.removeprefix("fsdp_"): item for key, item in config.items()}
    for key in config:
        if key not in KEYS:
            raise ConfigError(
                f"--fsdp {value}: {key}: unknown; expected {', '.join(KEYS)}."
                + did_you_mean(key, KEYS)
            )
    version = config.get("version", 2)
    if version != 2:
        raise ConfigError(
            f"--fsdp {value}: fsdp_version {version}: only FSDP2 is here; set it to 2."
        )
    kind = config.get("state_dict_type", "SHARDED_STATE_DICT")
    if kind not in ("SHARDED_STATE_DICT", "FULL_STATE_DICT"):
        raise ConfigError(
            f"--fsdp {value}: state_dict_type {kind}: expected SHARDED_STATE_DICT or "
            "FULL_STATE_DICT."
        )
    wrap = config.get("auto_wrap_policy", "TRANSFORMER_BASED_WRAP")
    if wrap != "TRANSFORMER_BASED_WRAP":
        raise ConfigError(
            f"--fsdp {value}: auto_wrap_policy {wrap}: decoder layers are the units here, "
            "TRANSFORMER_BASED_WRAP; leave it out."
        )
    return FsdpSettings(
        offload="offload" in words or _switch(value, config, "offload_params", False),
        reshard_after_forward=_switch(
            value, config, "reshard_after_forward", "shard_grad_op" not in words
        ),
        load_on_main=_switch(value, config, "cpu_ram_efficient_loading", True),
        sharded_checkpoints=kind == "SHARDED_STATE_DICT",
        activation_checkpointing=_switch(value, config, "activation_checkpointing", False) or None,
    )


def _switch(value: str, config: Mapping[str, Any], key: str, default: bool) -> bool:
    found = config.get(key, default)
    if not isinstance(found, bool):
        raise ConfigError(f"--fsdp {value}: {key}: found {found!r}; expected true or false.")
    return found
