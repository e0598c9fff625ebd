"""`swiftrl plan`: what a training command needs of a device, from its settings alone."""

from __future__ import annotations

from collections.abc import Sequence

from swiftrl.cli.command import Command
from swiftrl.cli.commands import pt, rlhf, sft
from swiftrl.cli.plan_config import PlanConfig
from swiftrl.cli.training import training_groups
from swiftrl.core.config import Settings
from swiftrl.core.errors import ConfigError
from swiftrl.core.parse import flag_values
from swiftrl.models.config import ModelConfig
from swiftrl.rlhf.config import ReferenceConfig

_COMMANDS = {"rlhf": rlhf.COMMAND, "sft": sft.COMMAND, "pt": pt.COMMAND}


def _planned(argv: Sequence[str]) -> Command:
    name = (flag_values(argv, "command") or ["rlhf"])[-1]
    # A wrong name is refused when the words are parsed.
    return _COMMANDS.get(name, rlhf.COMMAND)


def groups(argv: Sequence[str]) -> list[type]:
    """Return the plan's settings and those of the command that is planned."""
    planned = _planned(argv).groups(argv)
    # A plan asks for the reference of every command.
    missing = [] if ReferenceConfig in planned else [ReferenceConfig]
    return [PlanConfig, *planned, *missing]


def shown_in_help(argv: Sequence[str]) -> list[type]:
    """Return the settings that only some commands and algorithms have."""
    found = [
        group
        for command in _COMMANDS.values()
        for group in (*command.groups([]), *command.shown_in_help([]))
    ]
    shared = {PlanConfig, *training_groups(reference=True)}
    return [group for group in dict.fromkeys(found) if group not in shared]


def run(settings: Settings) -> int:
    """Print the plan; 0 if it fits, 3 if it does not."""
    from swiftrl.cli.planning import plan
    from swiftrl.rlhf.algorithm import ALGORITHMS

    if settings[ModelConfig].device_map is not None:
        raise ConfigError(
            "--device_map: plans are of one device, or of processes that share a model (--fsdp, "
            "--deepspeed). Leave it out, and give all devices' memory together as --device_memory."
        )
    name = settings[PlanConfig].command
    if name == "rlhf":
        name = settings[rlhf.RlhfConfig].rlhf_type
    return plan(settings, ALGORITHMS.get(name))


COMMAND = Command(
    summary="Show how much memory a training command needs, without loading a weight.",
    description="swiftrl plan rlhf|sft|pt [CONFIG.yaml] [flags of that command]: the model, the "
    "batch, the memory of each device by part, and the settings that would make it fit. Exits "
    "with 3 if it does not fit.",
    groups=groups,
    run=run,
    refuse=lambda flag, argv: _planned(argv).refuse(flag, argv),
    shown_in_help=shown_in_help,
    positional="command",
)
