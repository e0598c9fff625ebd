"""A row of `swiftrl env`, and what can be found out without importing torch."""

from __future__ import annotations

import importlib.util
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Check", "first_line_of", "torch_build"]


@dataclass(frozen=True, slots=True)
class Check:
    """One row of `swiftrl env`.

    Attributes:
        name: what was looked at.
        found: what is there.
        expected: what the package needs; empty where anything goes.
        todo: what to do about it; empty if nothing.
        ok: whether `found` will do.
    """

    name: str
    found: str
    expected: str = ""
    todo: str = ""
    ok: bool = True

    def __str__(self) -> str:
        expected = f" Expected {self.expected}." if self.expected else ""
        todo = f" Do this: {self.todo}." if self.todo else ""
        return f"{self.found}.{expected}{todo}"


def first_line_of(command: Sequence[str], timeout_s: float = 20) -> str | None:
    """Return the first line that a tool prints, or None if it fails or hangs."""
    try:
        done = subprocess.run(
            list(command), capture_output=True, text=True, timeout=timeout_s, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = done.stdout.strip().splitlines()
    return lines[0].strip() if done.returncode == 0 and lines else None


def torch_build() -> tuple[str, str | None]:
    """Return torch's version and the CUDA or ROCm version it was built for, from its files."""
    spec = importlib.util.find_spec("torch")
    file = Path(spec.origin).with_name("version.py") if spec and spec.origin else None
    if file is None or not file.is_file():
        return "absent", None
    text = file.read_text(encoding="utf-8")
    version = re.search(r"^__version__ = '([^']+)'", text, re.MULTILINE)
    built = re.search(r"^(?:cuda|hip)\b.* = '([^']+)'", text, re.MULTILINE)
    return (version[1] if version else "unknown", built[1] if built else None)
