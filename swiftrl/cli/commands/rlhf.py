"""`swiftrl rlhf`: alignment from preferences and from rewards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from swiftrl.cli.command import Command
from swiftrl.cli.training import check_training, load_plugins, run_training, training_groups
from swiftrl.core.config import Settings, options_of, setting
from swiftrl.core.errors import ConfigError
from swiftrl.core.parse import flag_values
from swiftrl.core.registry import did_you_mean
from swiftrl.rlhf.algorithm import ALGORITHMS, Algorithm


@dataclass(frozen=True)
class RlhfConfig:
    """Algorithm."""

    rlhf_type: str = setting("dpo", "Algorithm; its own flags stand at the end of this page.")


def algorithms() -> dict[str, type[Algorithm[Any]]]:
    """Return the algorithms of this command by name."""
    return {name: item for name, item in ALGORITHMS.items() if item.command == "rlhf"}


def chosen(argv: Sequence[str]) -> type[Algorithm[Any]]:
    """Return the algorithm that the words ask for.

    Raises:
        ConfigError: there is none of that name.
    """
    load_plugins(argv)
    known = algorithms()
    name = (flag_values(argv, "rlhf_type") or ["dpo"])[-1]
    if name in known:
        return known[name]
    raise ConfigError(
        f"--rlhf_type {name}: unknown; expected one of {', '.join(sorted(known))}."
        + did_you_mean(name, sorted(known))
    )


def groups(argv: Sequence[str]) -> list[type]:
    """Return the settings groups, the algorithm's own last."""
    algorithm = chosen(argv)
    return [
        RlhfConfig,
        *training_groups(reference=True),
        *algorithm.more_settings,
        algorithm.Config,
    ]


def refuse(flag: str, argv: Sequence[str]) -> str | None:
    """Name the algorithm that a foreign flag belongs to."""
    from swiftrl.cli.swift_flags import why_refused

    current = chosen(argv).name
    owners = [
        item
        for _, item in ALGORITHMS.items()
        if flag in options_of([item.Config, *item.more_settings])
    ]
    aligned = [item.name for item in owners if item.command == "rlhf"]
    if aligned:
        return f"belongs to --rlhf_type {' or '.join(aligned)}; this run is {current}."
    if owners:
        return f"belongs to swiftrl {owners[0].command}; this is swiftrl rlhf."
    return why_refused(flag)


def run(settings: Settings) -> int:
    """Train."""
    return run_training(settings, _algorithm(settings), "rlhf")


def check(settings: Settings) -> None:
    """Refuse settings that do not fit each other."""
    check_training(settings, _algorithm(settings))


def _algorithm(settings: Settings) -> type[Algorithm[Any]]:
    return ALGORITHMS.get(settings[RlhfConfig].rlhf_type)


COMMAND = Command(
    summary="Align a model: preferences (DPO and its family), rewards (GRPO), a teacher (GKD).",
    description="Train a model on preferences, on rewards for what it writes, or on a teacher's "
    "distributions. --rlhf_type picks the algorithm.",
    groups=groups,
    run=run,
    check=check,
    refuse=refuse,
    shown_in_help=lambda argv: list(
        dict.fromkeys(
            group for item in algorithms().values() for group in (*item.more_settings, item.Config)
        )
    ),
    trains=True,
)
