"""Compares mathematical answers by math-verify, in a process that can be stopped."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import threading
import weakref
from collections.abc import Sequence
from typing import Any

from swiftrl.checking.answers import answer_part
from swiftrl.core.errors import MachineError

__all__ = ["MathChecker"]

START_S = 120.0


class MathChecker:
    """A process of math-verify, started when first needed.

    Args:
        limit_s: seconds a pair; one that takes longer is unscorable, and the process starts anew.
    """

    def __init__(self, limit_s: float = 5.0) -> None:
        self.limit_s = limit_s
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()

    def check(self, replies: Sequence[str], references: Sequence[str | None]) -> list[bool | None]:
        """Return whether each reply's answer equals its reference.

        None if there is no reference, if it is no maths, or if the comparison takes too long.

        Raises:
            MachineError: the process does not start.
        """
        with self._lock:
            return [
                None if reference is None else self._ask(answer_part(reply), reference)
                for reply, reference in zip(replies, references, strict=True)
            ]

    def _ask(self, reply: str, reference: str) -> bool | None:
        process = self._started()
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps([reply, answer_part(reference) or reference]) + "\n")
            process.stdin.flush()
        except BrokenPipeError:
            _stop(process)
            return None
        return self._answer(process, self.limit_s)

    def _started(self) -> subprocess.Popen[str]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        own_limit = str(math.ceil(self.limit_s) + 1)
        command = [sys.executable, "-m", "swiftrl.checking.math_worker", own_limit]
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
        )
        weakref.finalize(self, _stop, process)
        if self._answer(process, START_S) != "ready":
            raise MachineError(
                f"the process that runs math-verify does not start: {' '.join(command)} "
                f"(exit code {process.returncode}). Try --accuracy_mode exact."
            )
        self._process = process
        return process

    def _answer(self, process: subprocess.Popen[str], limit_s: float) -> Any:
        """Return the next answer; None, with the process ended, if there is none in time."""
        assert process.stdout is not None
        timer = threading.Timer(limit_s, process.kill)
        timer.daemon = True
        timer.start()
        line = process.stdout.readline()
        timer.cancel()
        if not line.endswith("\n"):
            _stop(process)
            return None
        return json.loads(line)


def _stop(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            try:
                stream.close()
            except BrokenPipeError:  # what was still to be written
                continue
