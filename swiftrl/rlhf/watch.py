"""A thread in every process of a run that ends all of them when one is lost, and says where.

Each process writes into a shared store what it is doing and that it lives. Whoever first finds
that another is gone, or that an exchange takes longer than it may, claims the right to speak and
prints one message; the others see that and end without a word. All write their stacks first.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import torch.distributed as dist

from swiftrl.core.errors import SwiftRLError
from swiftrl.core.lifeline import end_children
from swiftrl.rlhf.joining import ACKNOWLEDGE_S, AlreadySaid, Member, claim, said
from swiftrl.rlhf.peers import Peers, Sight

__all__ = ["Watch"]

EVIDENCE_S = 3.0
"""How long to look for the process that broke a connection, or let it speak for itself."""
UNWIND_S = 15.0
"""How long a process may take to end after it has raised."""
STUCK_S = 5.0
STACKS = "stacks"


class Watch:
    """What this process is doing, made known to the others; and theirs, watched.

    Args:
        member: which process this is.
        store: shared by all, for the main thread.
        timeout_s: longest wait for the others, --ddp_timeout.
    """

    def __init__(self, member: Member, store: dist.Store, timeout_s: float) -> None:
        self.member, self.timeout_s, self._store = member, timeout_s, store
        self._folder: Path | None = None
        self._stage, self._step, self._entered = "start-up", 0, time.monotonic()
        self._deadline, self._limit_s = float("inf"), 0.0
        self._waits = 0
        self._trouble: str | None = None
        self._spoke_at = float("inf")
        self._wake, self._leaving = threading.Event(), threading.Event()
        self._interval_s = min(1.0, timeout_s / 5) * max(1.0, member.world_size / 64)
        self._parent = os.getppid()
        self._stacks: IO[str] | None = None
        # A connection of its own: one that waits keeps other threads from speaking.
        self._own = member.connect(timeout_s)
        self._peers = Peers(member, self._own)
        self._thread = threading.Thread(target=self._run, name="swiftrl-watch", daemon=True)
        self._thread.start()

    @property
    def where(self) -> str:
        """What this process is doing, for people."""
        return f"{self._stage} of step {self._step}" if self._step else self._stage

    def at(self, stage: str, step: int | None = None) -> None:
        """Note what the main thread does from now on; without a step, in the same one."""
        if step is not None:
            self._step = step
        self._stage, self._entered = stage, time.monotonic()

    def name_folder(self, folder: Path) -> None:
        """Say where stacks are written if need be."""
        self._folder = folder

    @contextlib.contextmanager
    def stacks_on_signal(self) -> Iterator[None]:
        """Let the launcher have stacks from a process that cannot run Python any more."""
        if self._folder is None or not hasattr(faulthandler, "register"):
            yield
            return
        place = self._stacks_file()
        with place.open("a", encoding="utf-8") as file:
            faulthandler.register(signal.SIGUSR2, file=file, all_threads=True)
            try:
                yield
            finally:
                faulthandler.unregister(signal.SIGUSR2)
                if not place.stat().st_size and not self._failing:
                    place.unlink()
                    with contextlib.suppress(OSError):  # the others' are still there
                        place.parent.rmdir()

    @contextlib.contextmanager
    def limited(self, limit_s: float | None = None) -> Iterator[None]:
        """Give what is done inside a time limit; --ddp_timeout unless another is given."""
        outer = self._deadline, self._limit_s
        self._limit_s = self.timeout_s if limit_s is None else limit_s
        self._deadline = time.monotonic() + self._limit_s
        try:
            yield
        finally:
            self._deadline, self._limit_s = outer

    def broken(self, error: RuntimeError) -> None:
        """End this process because an exchange failed: by another's message, or with its own."""
        self._trouble = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        self._wake.set()
        # It comes back only if the thread is stuck itself, at a store that does not answer.
        self._thread.join(EVIDENCE_S + ACKNOWLEDGE_S + STUCK_S)

    def raised(self, error: BaseException) -> None:
        """Let the others end because this process raised `error`, and have the message say where.

        Raises:
            AlreadySaid: another process has told the user what went wrong.
        """
        users = isinstance(error, SwiftRLError)
        of = f"rank {self.member.rank} of {self.member.world_size}, {self.where}"
        self._spoke_at = time.monotonic()
        try:
            first = claim(self._store, error.exit_code if users else 1, stacks=not users)
            other = None if first else said(self._store)
        except RuntimeError:  # the store is gone, and with it any other message
            other = None
        if other is not None:
            self._ended(self._store)
            raise AlreadySaid(other["code"]) from error
        if users:
            error.args = (f"{error} ({of})",)
        else:
            self._say(f"{of}: {type(error).__name__}.{self._stacks_text()}")
        self._ended(self._store, wait=True)

    def leave(self) -> None:
        """End the watch; the process that keeps the store waits for the others."""
        self._leaving.set()
        self._wake.set()
        self._thread.join()
        with contextlib.suppress(RuntimeError):
            self._store.set(f"left/{self.member.rank}", "")
            if self.member.keeps_store:
                self._wait_for("left", self.timeout_s, self._store)

    def wait_for_main(self, limit_s: float) -> None:
        """Return when the main process has come here too, which may take it `limit_s` seconds."""
        self._waits += 1
        name = f"main/{self._waits}"
        if self.member.rank == 0:
            self._store.set(name, "")
            return
        with self.limited(limit_s):
            while not self._store.check([name]):
                time.sleep(0.05)

    @property
    def _failing(self) -> bool:
        return self._spoke_at < float("inf") or self._trouble is not None

    def _run(self) -> None:
        last = time.monotonic()
        while not self._leaving.is_set():
            gap_s, last = time.monotonic() - last, time.monotonic()
            try:
                self._beat()
            except RuntimeError:
                # After a pause it may be the others that are gone because of this process.
                self._without_store(quiet=gap_s > self._interval_s + 1)
            self._wake.wait(self._interval_s)
        with contextlib.suppress(RuntimeError):
            self._peers.tell("left", 0.0, False)

    def _beat(self) -> None:
        if os.getppid() != self._parent:
            self._quit(1)
        if self._spoke_at < float("inf"):
            if time.monotonic() > self._spoke_at + UNWIND_S:
                self._quit(1)
            return
        waits = self._deadline < float("inf")
        self._peers.tell(self.where, time.monotonic() - self._entered, waits)
        self._follow()
        self._peers.read()
        lost = any(sight.lost for sight in self._peers.seen())
        if lost or self._trouble is not None or time.monotonic() > self._deadline:
            self._find_out(late=not lost and self._trouble is None)

    def _find_out(self, *, late: bool) -> None:
        """Say who is to blame, unless somebody else does; end."""
        until = time.monotonic() + EVIDENCE_S
        while not late and time.monotonic() < until:
            # One that raised has the word; a killed one leaves the list of processes in a moment.
            self._follow()
            if any(sight.lost for sight in self._peers.seen()):
                break
            time.sleep(0.05)
        if not claim(self._own, 1, stacks=True):
            time.sleep(0.1)
            self._follow()
            self._quit(1)
        self._say(self._message(self._peers.seen()))
        self._write_stacks()
        self._ended(self._own, wait=True)
        self._quit(1)

    def _follow(self) -> None:
        """End, if another process has said so."""
        other = said(self._own)
        if other is None or self._spoke_at < float("inf"):
            return
        if other["stacks"]:
            self._write_stacks()
        self._ended(self._own, wait=self.member.keeps_store)
        self._quit(other["code"])

    def _message(self, seen: Sequence[Sight], gone: frozenset[int] = frozenset()) -> str:
        lost = [sight for sight in seen if sight.lost or sight.rank in gone]
        blamed = lost or self._peers.behind(seen, self.where) or seen
        if lost:
            what = "a process of this run was lost"
        elif self._trouble is not None:
            what = f"the exchange with the other processes of this run failed ({self._trouble})"
        else:
            what = (
                "no answer from the other processes of this run within "
                f"{self._limit_s:g} s (--ddp_timeout)"
            )
        named = "; ".join(sight.named(gone=sight in lost) for sight in blamed[:4])
        more = f"; and {len(blamed) - 4} more" if len(blamed) > 4 else ""
        return f"{self.where}: {what}. {named}{more}.{self._stacks_text()}"

    def _stacks_text(self) -> str:
        if self._folder is None:
            return ""
        return (
            f" Stacks of the processes that could still write them: {self._folder / STACKS}. Go "
            f"on with --resume_from_checkpoint {self._folder}"
        )

    def _stacks_file(self) -> Path:
        assert self._folder is not None
        place = self._folder / STACKS / f"rank-{self.member.rank}.txt"
        place.parent.mkdir(parents=True, exist_ok=True)
        return place

    def _write_stacks(self) -> None:
        if self._folder is None:
            return
        with contextlib.suppress(OSError), self._stacks_file().open("a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%F %T')} rank {self.member.rank}, {self.where}\n")
            file.flush()
            faulthandler.dump_traceback(file, all_threads=True)

    def _ended(self, store: dist.Store, *, wait: bool = False) -> None:
        """Tell that this process is about to end; wait a little until all others have."""
        with contextlib.suppress(RuntimeError):
            store.set(f"ended/{self.member.rank}", "")
            if wait:
                self._wait_for("ended", ACKNOWLEDGE_S, store)

    def _wait_for(self, name: str, limit_s: float, store: dist.Store) -> None:
        """Wait until every process that can has written `name`/its rank."""
        until = time.monotonic() + limit_s
        while time.monotonic() < until:
            out = {sight.rank for sight in self._peers.seen() if sight.mute}
            if store.check([f"{name}/{r}" for r in range(self.member.world_size) if r not in out]):
                return
            time.sleep(0.02)

    def _without_store(self, *, quiet: bool) -> None:
        """End: who kept the store is gone, a launcher or rank 0. The lowest rank speaks."""
        if self._spoke_at < float("inf") or self._leaving.is_set():
            return
        seen = self._peers.seen()
        keeper = frozenset() if self.member.agent_store else frozenset({0})
        left = [sight.rank for sight in seen if not sight.lost and sight.rank not in keeper]
        self._trouble = self._trouble or "the launcher of node 0 does not answer any more"
        if not quiet and self.member.rank < min(left, default=self.member.world_size):
            self._say(self._message(seen, gone=keeper))
        self._write_stacks()
        self._quit(1)

    def _say(self, text: str) -> None:
        self._spoke_at = time.monotonic()
        sys.stderr.write(f"swiftrl: {text}\n")
        sys.stderr.flush()

    def _quit(self, code: int) -> None:
        """End at once, from a thread: the main one may never come back from where it is."""
        end_children()
        os._exit(code)
