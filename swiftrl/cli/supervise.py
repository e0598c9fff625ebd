"""Starts the processes of a run on this machine, and sees to it that they end together.

The processes say themselves what went wrong (`swiftrl.rlhf.watch`). What is left to do here: give
them time for that, end those that cannot, and speak for processes that were killed before they
could.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from types import FrameType

from swiftrl.core.lifeline import adopt_orphans, end_children

__all__ = ["supervise"]

POLL_S = 0.05
GRACE_S = 8.0
"""For the other processes to find out, say what happened, write their stacks and end."""
TOLD_S = 2.0
"""The same once one of them has said it."""
DUMP_S = 1.0
FORWARDED = ("SIGTERM", "SIGINT", "SIGHUP")


class _Children:
    """The processes of a run, in order of rank on this machine."""

    def __init__(self, processes: Sequence[subprocess.Popen[bytes]]) -> None:
        self.processes = processes
        self.asked_to_stop = False
        self.ended_here: set[int] = set()

    def forward(self, number: int, _frame: FrameType | None) -> None:
        """Hand a signal on, so that every process can save before it ends."""
        self.asked_to_stop = True
        self.send(number)

    def send(self, number: int) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(number)

    def wait(self) -> None:
        """Return when all have ended, by themselves or not."""
        until = float("inf")
        while None in (codes := [process.poll() for process in self.processes]):
            if any(codes):
                grace = TOLD_S if any(code and code > 0 for code in codes) else GRACE_S
                until = min(until, time.monotonic() + grace)
            if time.monotonic() > until:
                self._end()
                return
            time.sleep(POLL_S)

    def _end(self) -> None:
        """Have those that are left write their stacks, stopped ones too, and kill them."""
        self.ended_here = {
            rank for rank, process in enumerate(self.processes) if process.poll() is None
        }
        if hasattr(signal, "SIGUSR2"):
            self.send(signal.SIGUSR2)
            self.send(signal.SIGCONT)
            time.sleep(DUMP_S)
        for process in self.processes:
            process.kill()
            process.wait()


def supervise(
    words: Sequence[str],
    variables: Sequence[Mapping[str, str]],
    listener: socket.socket | None = None,
) -> int:
    """Run one process for each set of variables; none of them, nor what they start, is left over.

    Args:
        words: the command.
        variables: added to this process's environment, in order of rank.
        listener: where all processes of the run meet, if this machine keeps that place. It is
            kept here, as torchrun does, since any of the processes may be the one that is lost.

    Returns:
        0, or the exit code of a process that failed.
    """
    adopt_orphans()
    # Lost connections are told in one message of ours; torch's come with stacks of C++.
    quiet = {"TORCH_CPP_LOG_LEVEL": os.environ.get("TORCH_CPP_LOG_LEVEL", "ERROR")}
    started = [
        subprocess.Popen(words, env={**os.environ, **quiet, **extra}, start_new_session=True)
        for extra in variables
    ]
    children = _Children(started)
    before = {
        number: signal.signal(number, children.forward)
        for number in (getattr(signal, name, None) for name in FORWARDED)
        if number is not None
    }
    try:
        store = _meeting_place(listener) if listener is not None else None
        children.wait()
        del store
    finally:
        for process in started:
            process.kill()
        end_children()
        for number, handler in before.items():
            signal.signal(number, handler)
    return _outcome(children)


def _meeting_place(listener: socket.socket) -> object:
    from torch.distributed import TCPStore

    host, port = listener.getsockname()[:2]
    # Processes that came before this are in the socket's queue.
    return TCPStore(
        host, port, is_master=True, wait_for_workers=False, master_listen_fd=listener.detach()
    )


def _outcome(children: _Children) -> int:
    codes = [process.wait() for process in children.processes]
    told = [code for code in codes if code > 0]
    if told:
        return told[0]
    killed = {rank: signal.Signals(-code).name for rank, code in enumerate(codes) if code < 0}
    if not killed:
        return 0
    if not children.asked_to_stop:
        names = ", ".join(
            f"{rank} by {name}" for rank, name in killed.items() if rank not in children.ended_here
        )
        sys.stderr.write(
            f"swiftrl: processes of this run were killed or crashed before they could save or say "
            f"anything (local rank {names}). SIGKILL without a cause is most often the "
            "kernel's, for lack of memory: see dmesg.\n"
        )
    return 1
