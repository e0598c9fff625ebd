"""Several processes: `NPROC_PER_NODE=2 swiftrl rlhf ...` starts torchrun's agent on these words."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from swiftrl.cli.command import command_of
from swiftrl.core.errors import ConfigError

__all__ = ["launch", "wants_launch"]


def wants_launch(name: str) -> bool:
    """Say whether this process should start others instead of doing the work.

    That is so for commands that train when NPROC_PER_NODE or NNODES asks for several processes,
    unless torchrun has started this one already.
    """
    if "LOCAL_RANK" in os.environ or not command_of(name).trains:
        return False
    return _number("NPROC_PER_NODE", 1) > 1 or _number("NNODES", 1) > 1


def launch(name: str, words: Sequence[str]) -> int:
    """Run the processes; return 0, or the exit code of the first that failed.

    SIGTERM reaches every process, so that it can save before it ends.
    """
    import logging

    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    nodes = _number("NNODES", 1)
    address = os.environ.get("MASTER_ADDR", "127.0.0.1")
    # Port 0 lets the agent of a single node take a free one.
    port = _number("MASTER_PORT", 29500 if nodes > 1 else 0)
    config = LaunchConfig(
        min_nodes=nodes,
        max_nodes=nodes,
        nproc_per_node=_number("NPROC_PER_NODE", 1),
        run_id="swiftrl",
        rdzv_backend="static" if nodes > 1 else "c10d",
        rdzv_endpoint=f"{address}:{port}",
        rdzv_configs={"rank": _number("NODE_RANK", 0)} if nodes > 1 else {},
        max_restarts=0,
    )
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    try:
        elastic_launch(config, sys.executable)("-m", "swiftrl", name, *words)
    except ChildFailedError as error:
        return max(1, error.get_first_failure()[1].exitcode)
    except SignalException as error:
        return 128 + int(error.sigval)
    return 0


def _number(variable: str, default: int) -> int:
    text = os.environ.get(variable, str(default))
    if not text.isdigit():
        raise ConfigError(f"{variable}={text}: expected a number.")
    return int(text)
