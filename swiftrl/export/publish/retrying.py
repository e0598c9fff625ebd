"""Requests that are tried again: after cut connections, overload and servers' errors."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from swiftrl.core.errors import ExportError

__all__ = ["TransientError", "with_retries"]

T = TypeVar("T")

_LONGEST_S = 30.0


class TransientError(Exception):
    """What may go well the next time: a cut connection, 429 or 5xx."""


def with_retries(
    what: str,
    attempt: Callable[[], T],
    *,
    attempts: int,
    settled: Callable[[], T | None] | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> T:
    """Return what `attempt` gives; after a transient error try again, later each time.

    Args:
        what: is done, for the message.
        attempt: one request.
        attempts: times to try, at least 1.
        settled: asked after a failure: whether it went through although no answer came. A value
            other than None is taken for the answer.
        sleep: waits for some seconds.

    Raises:
        ExportError: the last try failed too.
    """
    pause = 0.5
    for number in range(1, attempts + 1):
        try:
            return attempt()
        except TransientError as error:
            if number == attempts:
                raise ExportError(
                    f"{what}: failed {attempts} times, at last with: {error} What was sent is "
                    "kept; give the same command to go on."
                ) from error
        # Several threads that failed together do not come back together.
        sleep(min(pause, _LONGEST_S) * (0.5 + random.random() / 2))
        pause *= 2
        if settled is not None and (done := _asked(settled)) is not None:
            return done
    raise AssertionError("attempts is at least 1")


def _asked(settled: Callable[[], T | None]) -> T | None:
    """Return what `settled` knows; nothing, where it fails as well."""
    try:
        return settled()
    except TransientError:
        return None
