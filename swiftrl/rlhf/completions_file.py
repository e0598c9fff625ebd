"""completions.jsonl: every reply of a run with what it was worth."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from swiftrl.core.files import disk_errors, write_text

__all__ = ["CompletionsFile"]


class CompletionsFile:
    """Appends replies step by step.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "completions.jsonl"

    def forget(self, start: int) -> None:
        """Take out what a run that goes on behind `start` prompts writes again."""
        if not self.path.exists():
            return
        with disk_errors(self.path):
            lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in lines if _prompts_before(line) < start]
        if len(kept) < len(lines):
            write_text(self.path, "".join(kept))

    def append(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write one line a reply; each names in "prompts_before" the step it belongs to."""
        with disk_errors(self.path), self.path.open("a", encoding="utf-8") as file:
            for row in rows:
                file.write(json.dumps(row, ensure_ascii=False) + "\n")


def _prompts_before(line: str) -> float:
    """Return where a line belongs; one that was cut short belongs nowhere."""
    try:
        return int(json.loads(line)["prompts_before"])
    except (ValueError, KeyError, TypeError):
        return math.inf
