"""Processes that end with those that started them, whatever ends these."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading

__all__ = ["adopt_orphans", "end_children", "end_with_parent", "end_with_parent_process"]

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36


def end_with_parent() -> None:
    """Have the kernel kill this process when its parent ends, by kill -9 too (Linux).

    It also reaches a process that is stopped. Elsewhere whoever cares must look at getppid().
    """
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def adopt_orphans() -> None:
    """Become the parent of what this process's descendants leave behind (Linux)."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)


def end_with_parent_process() -> None:
    """End this process of `multiprocessing` when the one that started it is gone (any system)."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, name="swiftrl-parent", daemon=True).start()


def end_children() -> None:
    """Kill every descendant of this process, in whatever session or group."""
    import psutil

    for child in psutil.Process().children(recursive=True):
        try:
            child.kill()
        except psutil.NoSuchProcess:
            continue


def _prctl(option: int, value: int) -> None:
    if sys.platform != "linux":
        return
    import ctypes

    ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)
