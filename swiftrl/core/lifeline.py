"""How processes end: with those that started them, whatever ends these, and without a crash."""

from __future__ import annotations

import atexit
import contextlib
import logging
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import NoReturn

__all__ = [
    "adopt_orphans",
    "end_children",
    "end_with_parent",
    "end_with_parent_process",
    "run_as_rank",
]

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


def run_as_rank(main: Callable[[], int]) -> NoReturn:
    """Run the program of one process among several, and end with its code, without a teardown.

    A thread of gloo gives the tensors of an exchange back after every process has what it wants,
    and needs Python for it. Where the interpreter is being torn down by then, Python ends that
    thread in a way that C++ answers with abort(): a run that went well would be told as crashed.
    So what is to happen at exit (threads ended, exit functions called, streams written out) does,
    and the process ends there. To be called before anything else that registers exit functions:
    they run in reverse order.

    Args:
        main: returns the exit code.
    """
    code = 1

    def end() -> None:
        logging.shutdown()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)

    atexit.register(end)
    try:
        code = main()
    except SystemExit as ending:
        code = ending.code if isinstance(ending.code, int) else int(bool(ending.code))
        raise
    sys.exit(code)


def _prctl(option: int, value: int) -> None:
    if sys.platform != "linux":
        return
    import ctypes

    ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)
