"""The process that runs math-verify: lines of JSON [reply, reference] in, true, false or null out.

A process of its own, because expressions such as 9^{9^{9}} hold the interpreter and its memory
for good, and math-verify's own time limit needs the main thread. Run with `-m` by `math_check`,
which ends it when a pair takes too long. After the seconds of its argument it ends by itself, for
where its parent is gone.
"""

from __future__ import annotations

import importlib
import json
import logging
import re
import signal
import sys

__all__ = ["main", "right"]

MEMORY_BYTES = 4 << 30


def right(reply: str, reference: str) -> bool | None:
    """Return whether a reply's expression equals the reference; None if the latter is no maths."""
    maths = importlib.import_module("math_verify")
    if "\\" in reference and not re.search(r"\$|\\boxed|\\\(|\\\[", reference):
        reference = f"${reference}$"  # bare LaTeX is found only between marks
    gold = maths.parse(reference, parsing_timeout=None)
    if not gold:
        return None
    found = maths.parse(reply, parsing_timeout=None)
    return bool(maths.verify(gold, found, timeout_seconds=None))


def main() -> None:
    """Answer until the input ends; the argument is the seconds that a pair may take."""
    limit_s = int(sys.argv[1])
    _limit_memory()
    logging.disable(logging.CRITICAL)
    # Before "ready", so that the first pair is not charged for it.
    importlib.import_module("math_verify")
    _say("ready")
    for line in sys.stdin:
        reply, reference = json.loads(line)
        _alarm(limit_s)
        try:
            _say(right(reply, reference))
        except (MemoryError, RecursionError):
            _say(None)
        _alarm(0)


def _limit_memory() -> None:
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    limit = MEMORY_BYTES if most == resource.RLIM_INFINITY else min(MEMORY_BYTES, most)
    resource.setrlimit(resource.RLIMIT_AS, (limit, most))


def _alarm(seconds: int) -> None:
    """Have the system end this process in so many seconds; 0 takes that back."""
    if hasattr(signal, "alarm"):  # Windows has none
        signal.alarm(seconds)


def _say(value: object) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
