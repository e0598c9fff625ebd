"""`swiftrl env`: what this machine has, what is wrong with it, and what to do."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass

from swiftrl.cli.command import Command
from swiftrl.core import log
from swiftrl.core.config import Settings, setting

__all__ = ["COMMAND", "EnvConfig"]


@dataclass(frozen=True)
class EnvConfig:
    """Report."""

    json: bool = setting(False, "Print the report as JSON.")


def run(settings: Settings) -> int:
    """Print the report; 0 if nothing is wrong, else 1."""
    from swiftrl.cli.doctor import examine

    checks = examine()
    wrong = [check for check in checks if not check.ok]
    if settings[EnvConfig].json:
        log.info(json.dumps([dataclasses.asdict(check) for check in checks], indent=2))
    else:
        rows = [
            ("ok" if check.ok else "WRONG", check.name, check.found, check.todo or check.expected)
            for check in checks
        ]
        log.table("This machine", ["", "what", "found", "what to do, or expected"], rows)
        for check in wrong:
            log.warn(f"{check.name}: {check}")
    return 1 if wrong else 0


COMMAND = Command(
    summary="Show what this machine has, what is wrong, and what to do.",
    description="Show versions, hardware, drivers, ports and optional packages, with what to do "
    "about gaps. Exit code 1 if something is wrong.",
    groups=lambda argv: [EnvConfig],
    run=run,
    needs_torch=False,
)
