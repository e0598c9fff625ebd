"""What each process of a run tells the others about itself, and what they see of it."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch.distributed as dist

from swiftrl.rlhf.joining import Member

__all__ = ["Peers", "Sight"]

QUIET_S = 10.0
"""A process that has not been heard for so long is named as silent; it beats every second."""


@dataclass(frozen=True, slots=True)
class Sight:
    """A process as another one last saw it.

    Attributes:
        rank, host, pid: which it is.
        stage: what it was doing.
        stage_s: for how long.
        waits: whether that is waiting for others.
        silent_s: since it was last heard of.
        state: "runs", "stopped" or "gone" where it is on this machine; "elsewhere"; "left".
    """

    rank: int
    host: str
    pid: int
    stage: str
    stage_s: float
    waits: bool
    silent_s: float
    state: str

    @property
    def lost(self) -> bool:
        """Whether it ended without a word."""
        return self.state == "gone"

    @property
    def mute(self) -> bool:
        """Whether there is no use in waiting for a word from it."""
        return self.state in ("gone", "stopped")

    def named(self, *, gone: bool = False) -> str:
        """Return who it is, where it was and how it is, for people."""
        who = f"rank {self.rank} (process {self.pid} on {self.host.split('/')[0]})"
        was = f"in {self.stage} for {self.stage_s:.1f} s"
        if gone or self.lost:
            return f"{who} is gone, killed or crashed; {self.silent_s:.1f} s ago it was {was}"
        if self.state == "stopped":
            return f"{who} is stopped (SIGSTOP); {self.silent_s:.1f} s ago it was {was}"
        if self.silent_s > QUIET_S:
            return f"{who} has not been heard of; {self.silent_s:.1f} s ago it was {was}"
        return f"{who} is {was}{', waiting' if self.waits else ''}"


class Peers:
    """The other processes of a run.

    Args:
        member: this one.
        store: where all write what they do.
    """

    def __init__(self, member: Member, store: dist.Store) -> None:
        self.member, self._store = member, store
        self._others = [rank for rank in range(member.world_size) if rank != member.rank]
        self._beats = 0
        self._unheard = set(self._others)
        self._told: dict[int, dict[str, Any]] = {}
        self._heard: dict[int, float] = {}

    def tell(self, stage: str, stage_s: float, waits: bool) -> None:
        """Write what this process does."""
        self._beats += 1
        told = {
            "host": self.member.host, "pid": os.getpid(), "beat": self._beats,
            "stage": stage, "stage_s": stage_s, "waits": waits,
        }  # fmt: skip
        self._store.set(f"at/{self.member.rank}", json.dumps(told))

    def read(self) -> None:
        """Take note of what the others have written."""
        self._unheard -= {rank for rank in self._unheard if self._store.check([f"at/{rank}"])}
        self._read([rank for rank in self._others if rank not in self._unheard])

    def _read(self, ranks: Sequence[int]) -> None:
        if not ranks:
            return
        now = time.monotonic()
        texts = self._store.multi_get([f"at/{rank}" for rank in ranks])
        for rank, text in zip(ranks, texts, strict=True):
            told = json.loads(text)
            if told["beat"] != self._told.get(rank, {}).get("beat"):
                self._told[rank], self._heard[rank] = told, now

    def seen(self) -> list[Sight]:
        """Return the others as they were last read, and as the machine shows them now."""
        # One that left may have said so, and ended, since it was read.
        gone = [rank for rank, told in self._told.items() if self._state(told) == "gone"]
        with contextlib.suppress(RuntimeError):  # the store may be gone as well
            self._read(gone)
        now = time.monotonic()
        return [
            Sight(
                rank, told["host"], told["pid"], told["stage"], told["stage_s"], told["waits"],
                now - self._heard[rank], self._state(told),
            )
            for rank, told in sorted(self._told.items())
        ]  # fmt: skip

    def behind(self, seen: Sequence[Sight], stage: str) -> list[Sight]:
        """Return those that have not come to where this process waits."""
        return [s for s in seen if s.state == "stopped" or not (s.waits and s.stage == stage)]

    def _state(self, told: dict[str, Any]) -> str:
        if told["stage"] == "left":
            return "left"
        if told["host"] != self.member.host:
            return "elsewhere"
        return _state_of(told["pid"])


def _state_of(pid: int) -> str:
    """Return how a process of this machine is."""
    if sys.platform == "linux":
        try:
            # "pid (name) state ..."; the name may hold anything.
            letter = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (OSError, IndexError):
            return "gone"
        return {"Z": "gone", "X": "gone", "T": "stopped", "t": "stopped"}.get(letter, "runs")
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return "gone"
    except OSError:
        return "runs"
    return "runs"
