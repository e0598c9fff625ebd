"""SIGTERM and Ctrl-C as a request that the trainer answers between two steps."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

from swiftrl.core import log

__all__ = ["StopSignals"]


class StopSignals:
    """Context in which SIGTERM and the first SIGINT only set `received`; a second SIGINT raises.

    Attributes:
        received: name of the signal, or None.
    """

    def __init__(self) -> None:
        self.received: str | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        # Python lets only the main thread handle signals.
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        again = self.received is not None
        self.received = signal.Signals(number).name
        if number == signal.SIGINT and again:
            raise KeyboardInterrupt
        if not again:
            log.warn(f"{self.received}: finishing this step, then saving and stopping.")
