"""Look-ups over every family in `models/families`."""

from __future__ import annotations

from functools import lru_cache

from swiftrl.core.errors import ConfigError
from swiftrl.core.registry import Registry, did_you_mean
from swiftrl.models.spec import ModelSpec

__all__ = ["FAMILIES", "all_specs", "by_architecture", "by_hub_id", "by_name"]

FAMILIES: Registry[tuple[ModelSpec, ...]] = Registry("family", "swiftrl.models.families", "SPECS")


@lru_cache(maxsize=1)
def _listed() -> tuple[ModelSpec, ...]:
    return tuple(spec for _, specs in FAMILIES.items() for spec in specs)


def all_specs() -> tuple[ModelSpec, ...]:
    """Return every known spec; plugins must have been loaded before the first call."""
    return _listed()


def by_name(name: str) -> ModelSpec:
    """Return the spec called `name` (`--model_type`).

    Raises:
        ConfigError: no such name.
    """
    names = {spec.name: spec for spec in all_specs()}
    if name not in names:
        raise ConfigError(
            f"--model_type {name}: no such model type." + did_you_mean(name, sorted(names))
        )
    return names[name]


def by_hub_id(hub_id: str) -> ModelSpec | None:
    """Return the spec that lists `hub_id` on either hub, or None."""
    wanted = hub_id.lower()
    for spec in all_specs():
        for known in spec.hub_ids:
            if wanted in (known.modelscope.lower(), (known.huggingface or "").lower()):
                return spec
    return None


def by_architecture(architecture: str) -> tuple[ModelSpec, ...]:
    """Return the specs whose models are of class `architecture`; several families may share one."""
    return tuple(spec for spec in all_specs() if architecture in spec.architectures)
