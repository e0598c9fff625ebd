"""A model whose layers lie on several devices of one process (Accelerate's dispatch)."""

from __future__ import annotations

from typing import Any

from swiftrl.core.errors import ConfigError, ModelError
from swiftrl.models.config import ModelConfig

__all__ = ["check_spread", "is_spread", "spread_arguments"]


def spread_arguments(config: ModelConfig) -> dict[str, Any]:
    """Return what `from_pretrained` takes for --device_map; empty without it.

    Raises:
        ConfigError: --max_memory names no device, or stands alone.
    """
    if config.device_map is None:
        if config.max_memory:
            raise ConfigError("--max_memory is for --device_map; give both or leave it out.")
        return {}
    most = {}
    for name, size in config.max_memory.items():
        if not name.isdigit():
            raise ConfigError(
                f"--max_memory: {name!r} is no device; expected numbers from 0, as in "
                '{"0": "20GiB", "1": "20GiB"}.'
            )
        most[int(name)] = size
    return {"device_map": config.device_map, "max_memory": most or None}


def check_spread(model: Any) -> None:
    """Refuse a model that the devices could not hold.

    Raises:
        ModelError: parts of it were left on the host or on disk.
    """
    places: dict[str, Any] = getattr(model, "hf_device_map", None) or {}
    devices = {str(place) for place in places.values()}
    left = sorted(name for name, place in places.items() if str(place) in ("cpu", "disk"))
    if left and devices - {"cpu"}:
        raise ModelError(
            f"--device_map: the devices hold {len(places) - len(left)} of {len(places)} parts of "
            f"the model; {left[0]} and {len(left) - 1} more do not fit. Raise --max_memory, give "
            "the process more devices, or divide the weights: --fsdp fsdp2 or --deepspeed zero3."
        )


def is_spread(model: Any) -> bool:
    """Return whether a model's parts lie on more than one device."""
    places = getattr(model, "hf_device_map", None) or {}
    return len({str(place) for place in places.values()}) > 1
