"""Runs Python programs that a model wrote, with limits.

What it does: a process of its own in an empty temporary folder, `python -I`, an environment
without the user's variables, limits of time, memory, file size and open files, no network where
the system lets an ordinary user cut it (Linux with user namespaces), and the process and its
children ended afterwards.

What it does not: it is no security boundary by itself. The program runs as the same user, can read
what that user can read, and can start processes that leave its group. For programs of a model that
you do not trust, run the whole training in a container or a virtual machine.
"""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from swiftrl.checking import sandbox_child
from swiftrl.core.errors import MachineError

__all__ = ["Limits", "Outcome", "network_is_cut", "run_program"]

OUTPUT_BYTES = 1 << 20
_PROBE = "import socket, sys\nsys.exit(len(socket.if_nameindex()) > 1)\n"


@dataclass(frozen=True, slots=True)
class Limits:
    """What a program may use: seconds of wall clock and of processor, and memory."""

    time_s: float = 10.0
    memory_mib: int = 1024


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a program ended.

    Attributes:
        stdout: what it wrote, at most a mebibyte.
        stderr: the same for its errors.
        exit_code: negative for a signal; None if the time was over.
    """

    stdout: str
    stderr: str
    exit_code: int | None


def run_program(source: str, stdin: str = "", limits: Limits | None = None) -> Outcome:
    """Run a program and return how it ended.

    Args:
        source: Python.
        stdin: what it reads.
        limits: what it may use.

    Raises:
        MachineError: no process can be started, or there is no space for its folder.
    """
    limits = limits or Limits()
    try:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place:
            return _run(source, stdin, limits, Path(place))
    except OSError as error:
        raise MachineError(f"a program of the model cannot be run here: {error}.") from error


def network_is_cut() -> bool:
    """Whether programs have no network here: they see no interface but the loopback's."""
    return run_program(_PROBE).exit_code == 0


def _run(source: str, stdin: str, limits: Limits, place: Path) -> Outcome:
    program, inside = place / "program.py", place / "inside"
    inside.mkdir()
    program.write_text(source, "utf-8", errors="replace")
    (place / "stdin").write_text(stdin, "utf-8", errors="replace")
    numbers = (math.ceil(limits.time_s) + 1, limits.memory_mib << 20, OUTPUT_BYTES)
    with (
        (place / "stdin").open("rb") as given,
        (place / "stdout").open("wb") as written,
        (place / "stderr").open("wb") as complained,
    ):
        process = subprocess.Popen(
            [sys.executable, "-I", sandbox_child.__file__, str(program), *map(str, numbers)],
            stdin=given,
            stdout=written,
            stderr=complained,
            cwd=inside,
            env=_environment(inside),
            start_new_session=True,
        )
        try:
            exit_code = process.wait(limits.time_s)
        except subprocess.TimeoutExpired:
            exit_code = None
        finally:
            _end(process)
    return Outcome(_text(place / "stdout"), _text(place / "stderr"), exit_code)


def _environment(inside: Path) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT") if name in os.environ}
    folder = str(inside)
    return kept | {
        "HOME": folder, "TMPDIR": folder, "TEMP": folder, "LANG": "C.UTF-8",
        "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1",
    }  # fmt: skip


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the process and what it started in its group."""
    if hasattr(os, "killpg"):
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):  # gone; macOS says the latter of zombies
            process.kill()
    else:
        process.kill()
    process.wait()


def _text(file: Path) -> str:
    with file.open("rb") as stream:
        return stream.read(OUTPUT_BYTES).decode("utf-8", errors="replace")
