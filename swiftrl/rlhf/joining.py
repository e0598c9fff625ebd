"""How the processes of a run find one another, and agree that they are of one run."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

import torch.distributed as dist

from swiftrl.core.errors import MachineError

__all__ = ["ACKNOWLEDGE_S", "AlreadySaid", "Meeting", "Member", "claim", "meet", "said"]

POLL_S = 0.05
SLOWEST_POLL_S = 1.0
FAILURE = "failure"
ACKNOWLEDGE_S = 3.0
"""How long the process that speaks for all waits for the others to have noticed."""


class AlreadySaid(MachineError):
    """This process ends because of what another one has told the user."""

    def __init__(self, exit_code: int) -> None:
        super().__init__("")
        self.exit_code = exit_code


def claim(store: dist.Store, code: int, *, stacks: bool) -> bool:
    """Become the process that speaks, and let all others end with `code`.

    Returns:
        False if there is one already.
    """
    if store.add("claims", 1) > 1:
        return False
    store.set(FAILURE, json.dumps({"code": code, "stacks": stacks}))
    return True


def said(store: dist.Store) -> dict[str, int] | None:
    """Return how the run ends by another process's word, or None if it goes on."""
    return json.loads(store.get(FAILURE)) if store.check([FAILURE]) else None


@dataclass(frozen=True, slots=True)
class Member:
    """Which process this is, by the variables that torchrun and `swiftrl` set.

    Attributes:
        rank, world_size: among all.
        local_world_size: processes on this machine.
        address, port: where all meet.
        host: the machine; processes of one host can look at each other.
        agent_store: the launcher keeps the meeting place, not process 0.
    """

    rank: int
    world_size: int
    local_world_size: int
    address: str
    port: int
    host: str
    agent_store: bool

    @classmethod
    def of(cls, env: Mapping[str, str]) -> Member:
        """Read the variables."""
        world_size = int(env["WORLD_SIZE"])
        return cls(
            rank=int(env["RANK"]),
            world_size=world_size,
            local_world_size=int(env.get("LOCAL_WORLD_SIZE", world_size)),
            address=env.get("MASTER_ADDR", "127.0.0.1"),
            port=int(env.get("MASTER_PORT", "29500")),
            host=_host(),
            agent_store=env.get("TORCHELASTIC_USE_AGENT_STORE") == "True",
        )

    @property
    def keeps_store(self) -> bool:
        """Whether the meeting place ends with this process."""
        return self.rank == 0 and not self.agent_store

    def connect(self, timeout_s: float, *, first: bool = False) -> dist.Store:
        """Return a connection to the meeting place.

        Args:
            timeout_s: how long to try.
            first: make the place, if it is this process's to make.
        """
        store = dist.TCPStore(
            self.address,
            self.port,
            None,
            is_master=first and self.keeps_store,
            timeout=timedelta(seconds=timeout_s),
            wait_for_workers=False,
        )
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        return dist.PrefixStore(f"swiftrl/{attempt}", store)


class Meeting(Exception):
    """The processes do not fit together.

    Args:
        text: how; empty where another process has found it out.
        store: where they met.
    """

    def __init__(self, text: str, member: Member, store: dist.Store) -> None:
        super().__init__(text)
        self.member, self.store = member, store

    def as_error(self) -> MachineError:
        """Return what to raise, after the others have been told."""
        first = bool(str(self)) and claim(self.store, 1, stacks=False)
        # The others read it here, so the place must last until they have.
        with contextlib.suppress(RuntimeError):
            self.store.add("ended", 1)
            until = time.monotonic() + ACKNOWLEDGE_S
            while time.monotonic() < until and self._expected():
                time.sleep(POLL_S)
        return MachineError(str(self)) if first else AlreadySaid(1)

    def _expected(self) -> int:
        """Return how many processes have come and not yet heard of it."""
        return self.store.add("arrived", 0) - self.store.add("ended", 0)


def meet(member: Member, timeout_s: float) -> dist.Store:
    """Return the meeting place once every process has come.

    Raises:
        MachineError: nobody keeps it, another program does, or it is gone too soon.
        Meeting: the processes do not agree, or some never came. The others know of it by the
            same place.
    """
    began = time.monotonic()
    try:
        store = member.connect(timeout_s, first=True)
    except (RuntimeError, ValueError) as error:
        raise MachineError(_unreachable(member, timeout_s, error)) from error
    try:
        _wait_for_all(member, store, began, timeout_s)
    except RuntimeError as error:
        raise MachineError(
            "start-up: the place where the processes meet is gone: node 0 ended meanwhile, and "
            f"its own message says why. ({str(error).strip().splitlines()[0][:200]})"
        ) from error
    return store


def _wait_for_all(member: Member, store: dist.Store, began: float, timeout_s: float) -> None:
    store.add("arrived", 1)
    store.set(f"came/{member.rank}", json.dumps([member.host, os.getpid()]))
    _agree(member, store)
    wait_s = POLL_S
    while missing := _missing(member, store):
        if store.check([FAILURE]):
            raise Meeting("", member, store)
        if time.monotonic() - began > timeout_s:
            raise Meeting(
                f"start-up: {len(missing)} of {member.world_size} processes did not come within "
                f"{timeout_s:.0f} s (--ddp_start_timeout): rank {_some(missing)}. Was the command "
                "started on every node, with the same NNODES, NPROC_PER_NODE, MASTER_ADDR and "
                "MASTER_PORT, and another NODE_RANK each?",
                member,
                store,
            )
        time.sleep(wait_s)
        wait_s = min(wait_s * 1.2, SLOWEST_POLL_S)


def _agree(member: Member, store: dist.Store) -> None:
    shape = f"{member.world_size} ({member.local_world_size} on a node)"
    agreed = store.compare_set("shape", "", shape).decode()
    if agreed != shape:
        raise Meeting(
            f"start-up: process {member.rank} on {_name(member.host)} was started as one of "
            f"{shape} processes, another as one of {agreed}. Give every node the same NNODES and "
            "NPROC_PER_NODE.",
            member,
            store,
        )
    if store.add(f"claimed/{member.rank}", 1) > 1:
        host, pid = json.loads(store.get(f"came/{member.rank}"))
        raise Meeting(
            f"start-up: there are two processes of rank {member.rank}, one on "
            f"{_name(member.host)} and one on {_name(host)} (process {pid}). Give every node "
            "another NODE_RANK, and every run another MASTER_PORT.",
            member,
            store,
        )


def _missing(member: Member, store: dist.Store) -> list[int]:
    keys = {rank: f"came/{rank}" for rank in range(member.world_size)}
    if store.check(list(keys.values())):
        return []
    return [rank for rank, key in keys.items() if not store.check([key])]


def _unreachable(member: Member, timeout_s: float, error: Exception) -> str:
    place = f"{member.address}:{member.port}"
    reason = str(error).strip().splitlines()[0][:200]
    if member.keeps_store:
        return (
            f"start-up: process 0 cannot listen at {place}, where the processes meet: most often "
            f"another run has the port. Set MASTER_PORT to a free one. ({reason})"
        )
    return (
        f"start-up: process {member.rank} did not reach process 0 at {place} within "
        f"{timeout_s:.0f} s (--ddp_start_timeout). Is node 0 running, and do MASTER_ADDR and "
        f"MASTER_PORT lead to it from {_name(member.host)}? ({reason})"
    )


def _host() -> str:
    """Return what two processes have in common if their process numbers mean the same."""
    try:
        return f"{socket.gethostname()}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return socket.gethostname()


def _name(host: str) -> str:
    return host.split("/")[0]


def _some(ranks: list[int]) -> str:
    return ", ".join(map(str, ranks[:8])) + (", ..." if len(ranks) > 8 else "")
