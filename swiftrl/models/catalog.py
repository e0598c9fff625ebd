"""Look-ups over every family in `models/families`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from importlib import resources
from typing import Any, Literal, cast

from swiftrl.core.errors import ConfigError
from swiftrl.core.registry import Registry, did_you_mean
from swiftrl.models.remote_code import REMOTE_CODE
from swiftrl.models.spec import ModelSpec

__all__ = [
    "FAMILIES",
    "Tested",
    "all_specs",
    "by_architecture",
    "by_hub_id",
    "by_name",
    "conformance",
    "tested_level",
    "tested_of",
    "untested_because",
]

Tested = Literal["golden", "tiny", "listed"]
_BEST_FIRST: tuple[Tested, ...] = ("golden", "tiny", "listed")

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
            if wanted in (id.lower() for id in known.known):
                return spec
    return None


def by_architecture(architecture: str) -> tuple[ModelSpec, ...]:
    """Return the specs whose models are of class `architecture`; several families may share one."""
    return tuple(spec for spec in all_specs() if architecture in spec.architectures)


@lru_cache(maxsize=1)
def conformance() -> Mapping[str, Mapping[str, Any]]:
    """Return what the conformance suite found: class name -> "level", "checks" and more.

    The key "_versions" holds the versions of the packages that it ran with.
    """
    file = resources.files("swiftrl.models") / "conformance.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def tested_level(architecture: str) -> Tested:
    """Return how well a class of models is tested.

    "golden": compared with published weights; "tiny": a small random model of the class went
    through every check of the conformance suite; "listed": known by name only.
    """
    return cast(Tested, conformance().get(architecture, {}).get("level", "listed"))


def tested_of(spec: ModelSpec) -> Tested:
    """Return how well a family is tested: the level of its least tested architecture.

    Names of classes that transformers lacks count only where the family has no others: a folder
    that names one loads as the family's class in transformers, if at all.
    """
    levels: list[Tested] = [tested_level(name) for name in _loaded(spec)]
    return max(levels, key=_BEST_FIRST.index)


def untested_because(spec: ModelSpec) -> str | None:
    """Return what keeps a family from being tested: a cause of the suite's, or foreign code."""
    if REMOTE_CODE.issuperset(spec.architectures):
        return "its architecture is code beside the weights, which is never run"
    if tested_of(spec) != "listed":
        return None
    entries = [conformance().get(name) for name in _loaded(spec)]
    reasons = [entry["reason"] for entry in entries if entry and entry["level"] == "listed"]
    return "; ".join(reasons) or "its architecture is in no release that the suite ran with"


def _loaded(spec: ModelSpec) -> tuple[str, ...]:
    native = tuple(name for name in spec.architectures if name not in REMOTE_CODE)
    return native or spec.architectures
