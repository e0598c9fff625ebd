"""The process that becomes a program of a model: takes its limits on, then runs the program.

`python -I sandbox_child.py PROGRAM CPU_SECONDS MEMORY_BYTES FILE_BYTES`. Limits are set here, after
the start, because code between fork and exec is not safe in a parent that has threads. It imports
nothing of swiftrl.
"""

from __future__ import annotations

import os
import sys

__all__ = ["cut_network", "end_with_parent", "main", "take_limits"]

CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000
OPEN_FILES = 64
PR_SET_PDEATHSIG = 1
SIGKILL = 9


def main() -> None:
    """Take the limits on and run the program in a new interpreter."""
    program, *numbers = sys.argv[1:]
    end_with_parent()
    cut_network()
    take_limits(*map(int, numbers))
    os.execv(sys.executable, [sys.executable, "-I", "-X", "utf8", program])


def end_with_parent() -> None:
    """Let the kernel kill this process, and what it becomes, with the run that waits for it."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0)


def cut_network() -> bool:
    """Move into an empty network namespace; False where the system has none or forbids it."""
    if sys.platform != "linux":
        return False
    import ctypes

    unshare = ctypes.CDLL(None).unshare
    return unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0 or unshare(CLONE_NEWNET) == 0


def take_limits(cpu_s: int, memory_bytes: int, file_bytes: int) -> None:
    """Limit this process and those it becomes, as far as the system knows such limits."""
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return
    for kind, value in (
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_FSIZE, file_bytes),
        (resource.RLIMIT_NOFILE, OPEN_FILES),
        (resource.RLIMIT_CORE, 0),
    ):
        _, most = resource.getrlimit(kind)
        limit = value if most == resource.RLIM_INFINITY else min(value, most)
        try:
            resource.setrlimit(kind, (limit, limit))
        except (ValueError, OSError):  # macOS knows no RLIMIT_AS
            continue


if __name__ == "__main__":
    main()
