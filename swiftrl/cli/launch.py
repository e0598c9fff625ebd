"""Several processes: `NPROC_PER_NODE=2 swiftrl rlhf ...` starts them on these words."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Sequence

from swiftrl.backends.base import Backend
from swiftrl.cli.command import command_of
from swiftrl.cli.hardware import choose
from swiftrl.cli.supervise import supervise
from swiftrl.core.config import Settings
from swiftrl.core.errors import BackendError, ConfigError
from swiftrl.models.config import ModelConfig

__all__ = ["launch", "run", "wants_launch"]

DEFAULT_PORT = 29500


def wants_launch(name: str) -> bool:
    """Say whether this process should start others instead of doing the work.

    That is so for commands that train when NPROC_PER_NODE or NNODES asks for several processes,
    unless torchrun has started this one already.
    """
    if "LOCAL_RANK" in os.environ or not command_of(name).trains:
        return False
    return _variable("NPROC_PER_NODE", "1") != "1" or _number("NNODES", 1) > 1


def launch(name: str, words: Sequence[str], settings: Settings) -> int:
    """Run a command of swiftrl in several processes; see `run`."""
    here = processes_here(choose(settings[ModelConfig]))
    return run([sys.executable, "-m", "swiftrl", name, *words], here)


def processes_here(backend: Backend) -> int:
    """Return how many processes this machine runs: NPROC_PER_NODE, held against its devices.

    Raises:
        ConfigError: it is no number or word that is known, or more than there are devices.
    """
    text = _variable("NPROC_PER_NODE", "1").lower()
    own = (backend.ray_resource or "").lower()
    if text == "auto" or (own and text == own):
        return backend.count()
    if not text.isdigit() or int(text) < 1:
        words = f"auto or {own}" if own else "auto"
        raise ConfigError(
            f"NPROC_PER_NODE={text}: expected a number, or {words} for every device that can be "
            f"seen; the hardware here is {backend.name}."
        )
    if backend.visible_env and int(text) > backend.count():
        shown = os.environ.get(backend.visible_env)
        seen = f"{backend.visible_env}={shown}" if shown else f"{backend.visible_env} is unset"
        raise ConfigError(
            f"NPROC_PER_NODE={text}: {backend.count()} of {backend.name}'s devices can be seen "
            f"({seen}), and each process wants its own. Set NPROC_PER_NODE={backend.count()} or "
            "auto."
        )
    return int(text)


def run(words: Sequence[str], here: int | None = None) -> int:
    """Run this machine's processes with torchrun's variables; return 0, or an exit code of theirs.

    SIGTERM reaches every process, so that it can save before it ends.

    Args:
        words: the command.
        here: processes of this machine; None: NPROC_PER_NODE says.

    Raises:
        BackendError: the port is taken.
        ConfigError: variables that contradict each other.
    """
    nodes, node = _number("NNODES", 1), _number("NODE_RANK", 0)
    here = _number("NPROC_PER_NODE", 1) if here is None else here
    if node >= nodes:
        raise ConfigError(f"NODE_RANK={node} with NNODES={nodes}: expected 0 to {nodes - 1}.")
    address = os.environ.get("MASTER_ADDR", "127.0.0.1")
    if nodes > 1 and not os.environ.get("NODE_RANK"):
        raise ConfigError(
            f"NNODES={nodes} without NODE_RANK: set it to 0 on the first machine, 1 on the second, "
            "and so on."
        )
    if nodes > 1 and "MASTER_ADDR" not in os.environ:
        raise ConfigError(
            f"NNODES={nodes} without MASTER_ADDR: set it, on every node, to the address of node 0."
        )
    # Port 0 takes a free one, which only works where nobody else has to know it.
    port = _number("MASTER_PORT", DEFAULT_PORT if nodes > 1 else 0)
    listener = _listen(port, everywhere=nodes > 1) if node == 0 else None
    common = {
        "WORLD_SIZE": str(nodes * here),
        "LOCAL_WORLD_SIZE": str(here),
        "GROUP_RANK": str(node),
        "GROUP_WORLD_SIZE": str(nodes),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "MASTER_ADDR": address,
        "MASTER_PORT": str(listener.getsockname()[1] if listener is not None else port),
    }
    each = [
        common | {"LOCAL_RANK": str(local), "RANK": str(node * here + local)}
        for local in range(here)
    ]
    return supervise(words, each, listener)


def _listen(port: int, *, everywhere: bool) -> socket.socket:
    """Return a socket for the first process to meet the others on; it is taken from now on."""
    both = everywhere and socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both else socket.AF_INET
    try:
        return socket.create_server(
            ("" if everywhere else "127.0.0.1", port), family=family, dualstack_ipv6=both
        )
    except OSError as error:
        raise BackendError(
            f"port {port} of this machine cannot be had ({error.strerror}): most often another "
            "run, or a process left over from one, has it. Set MASTER_PORT to a free port (on "
            "every node), or leave it unset where there is one node."
        ) from error


def _variable(name: str, default: str) -> str:
    return os.environ.get(name) or default


def _number(variable: str, default: int) -> int:
    text = _variable(variable, str(default))
    if not text.isdigit():
        raise ConfigError(f"{variable}={text}: expected a number.")
    return int(text)
