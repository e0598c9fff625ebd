"""A contestant's side of the benchmark: it computes one optimizer step whenever it has the turn."""

from __future__ import annotations

import socket
from typing import Any


class Turns:
    """Waits for the turn and gives it back, over a Unix socket.

    Args:
        address: path of the referee's socket.
        name: of the contestant.
    """

    def __init__(self, address: str, name: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(address)
        self._file = self._socket.makefile("rw")
        self._send(name)

    def wait(self) -> None:
        """Return when this contestant may compute."""
        if self._file.readline().strip() != "go":
            raise SystemExit(0)

    def done(self) -> None:
        """Say that a step is complete, and wait for the next turn."""
        self._send("done")
        self.wait()

    def _send(self, word: str) -> None:
        self._file.write(word + "\n")
        self._file.flush()


def trainer_callback(base: type, turns: Turns) -> type:
    """Return a transformers TrainerCallback that takes turns step by step."""

    class TurnsCallback(base):
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            turns.wait()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            turns.done()

    return TurnsCallback
