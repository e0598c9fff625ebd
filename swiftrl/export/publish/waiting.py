"""Waiting for a service that works on something."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

from swiftrl.core import log
from swiftrl.core.errors import ExportError

__all__ = ["wait_for"]


def wait_for(
    what: str,
    look: Callable[[], tuple[str, str]],
    *,
    good: Collection[str],
    bad: Collection[str],
    minutes: float,
    every_s: float = 10.0,
    sleep: Callable[[float], None] = time.sleep,
) -> str:
    """Ask again and again until a state is reached.

    Args:
        what: is waited for.
        look: returns the state, and what the service says of it.
        good: states that end the waiting.
        bad: states that are failures.
        minutes: how long to wait.
        every_s: seconds between two looks.
        sleep: waits for some seconds.

    Returns:
        the state.

    Raises:
        ExportError: a failure, or too long a wait.
    """
    end = time.monotonic() + minutes * 60
    before = ""
    while True:
        state, said = look()
        if state != before:
            log.info(f"{what}: {state}")
            before = state
        if state in good:
            return state
        if state in bad:
            raise ExportError(f"{what}: {state}. {said}".rstrip())
        if time.monotonic() > end:
            raise ExportError(
                f"{what}: still {state} after {minutes:g} minutes. Give the same command to go on "
                "waiting, or a longer --wait_minutes."
            )
        sleep(every_s)
