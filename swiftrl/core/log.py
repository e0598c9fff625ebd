"""What people read while a command runs: notices, tables, and progress with ETA."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

__all__ = ["Progress", "info", "set_quiet", "table", "track", "warn"]

T = TypeVar("T")
_state = {"quiet": False}


def set_quiet(quiet: bool) -> None:
    """Silence `info`, `table` and progress in this process (every rank but the first)."""
    _state["quiet"] = quiet


def info(text: str = "") -> None:
    """Print a line for the user to standard output."""
    if not _state["quiet"]:
        if sys.stderr.isatty() and sys.stdout.isatty():
            # A progress line may stand here; it is written anew below.
            sys.stdout.write("\r\x1b[K")
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


def warn(text: str) -> None:
    """Print a warning to standard error."""
    if not _state["quiet"]:
        sys.stderr.write(f"warning: {text}\n")
        sys.stderr.flush()


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print an aligned table; numbers are formatted by the caller.

    Args:
        title: stands above it.
        columns: their names; a table whose columns have none gets no header.
        rows: cells.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if _state["quiet"]:
        return
    drawn = Table(title=title, title_justify="left", show_header=any(columns))
    for column in columns:
        drawn.add_column(column, overflow="fold")
    for row in rows:
        drawn.add_row(*[Text(cell) for cell in row])
    # In pipes and files every row stays one line.
    width = None if sys.stdout.isatty() else 10_000
    Console(width=width, file=sys.stdout).print(drawn)


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes:02d}:{seconds:02d}"


class Progress:
    """One line that is rewritten on a terminal, and a line every `every_s` seconds elsewhere.

    Args:
        name: what is going on.
        total: how many units there are, or None if unknown.
        every_s: seconds between lines where the output is no terminal.
        start: units done before (a resumed run), so that the ETA counts this run's speed alone.
    """

    def __init__(
        self, name: str, total: int | None, *, every_s: float = 10.0, start: int = 0
    ) -> None:
        self.name, self.total, self.every_s, self.start = name, total, every_s, start
        self.done = start
        self._began = self._shown = time.monotonic()
        self._terminal = sys.stderr.isatty()

    def update(self, done: int, note: str = "") -> None:
        """Say that `done` units are complete; `note` is shown behind."""
        self.done = done
        now = time.monotonic()
        finished = self.total is not None and done >= self.total
        interval = 0.1 if self._terminal else self.every_s
        if now - self._shown < interval and not (finished and self._terminal):
            return
        self._shown = now
        self._write(self.line(now - self._began, note))

    def line(self, elapsed_s: float, note: str = "") -> str:
        """Return the text shown after `elapsed_s` seconds."""
        of = f"/{self.total}" if self.total is not None else ""
        text = f"{self.name} {self.done}{of} [{_clock(elapsed_s)}"
        here = self.done - self.start
        if self.total is not None and here > 0:
            text += f", ETA {_clock(elapsed_s / here * (self.total - self.done))}"
        return f"{text}] {note}".rstrip()

    def close(self) -> None:
        """End the rewritten line."""
        if self._terminal and not _state["quiet"]:
            sys.stderr.write("\n")

    def _write(self, text: str) -> None:
        if _state["quiet"]:
            return
        sys.stderr.write(f"\r\x1b[K{text}" if self._terminal else text + "\n")
        sys.stderr.flush()


def track(items: Iterable[T], name: str, total: int | None = None) -> Iterator[T]:
    """Yield `items` while showing progress."""
    progress = Progress(name, total)
    for count, item in enumerate(items, start=1):
        yield item
        progress.update(count)
    progress.close()
