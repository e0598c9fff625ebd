"""Programs in what a model wrote: found, and run."""

from __future__ import annotations

import re
import secrets

from swiftrl.checking.sandbox import Limits, run_program

__all__ = ["fenced_blocks", "runs_to_its_end"]

_BLOCK = re.compile(r"```(?:python|py)?[^\S\n]*\n(.*?)(?:```|\Z)", re.DOTALL | re.IGNORECASE)


def fenced_blocks(text: str) -> list[str]:
    """Return the fenced blocks of a text, without language or as Python; the last may be open."""
    return _BLOCK.findall(text)


def runs_to_its_end(program: str, limits: Limits | None = None) -> bool:
    """Say whether a program, its tests behind it, runs to its end in a process with limits.

    That is shown by a word made for this run: a program that ends early does not write it.
    """
    word = secrets.token_hex(16)
    outcome = run_program(f"{program}\n\nprint({word!r})\n", limits=limits)
    return outcome.exit_code == 0 and outcome.stdout.rstrip().endswith(word)
