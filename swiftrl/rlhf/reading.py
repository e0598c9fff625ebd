"""What models say of a rollout's tokens before it is trained on.

Shapes: N tokens of replies in this process.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from swiftrl.core.errors import ModelError
from swiftrl.rlhf.distributed import Processes
from swiftrl.rlhf.online import Reading
from swiftrl.rlhf.order import MicroBatch
from swiftrl.rlhf.policy import Policy
from swiftrl.rlhf.reference import evaluating
from swiftrl.rlhf.steps import evened

__all__ = ["MOST_GAP", "check_gap", "read_tokens"]

MOST_GAP = 0.2
"""Nats a token, on average, by which the engine may differ from the trainer."""


def read_tokens(
    policy: Policy, batches: Sequence[MicroBatch], processes: Processes, wanted: frozenset[Reading]
) -> dict[str, Tensor]:
    """Return [N] of each name asked for, on the host, without dropout and gradient.

    Args:
        policy: asked, and its reference.
        batches: every token of whose replies trains.
        processes: those of the run; all of them come here together.
        wanted: names.
    """
    lockstep = policy.parallel.lockstep
    found: dict[str, list[Tensor]] = {name: [] for name in wanted - {"chance"}}
    with evaluating(policy.model):
        for micro in evened(batches, processes) if lockstep else batches:
            batch = micro.batch.to(processes.device)
            if not len(batch.target_ids) and not lockstep:
                continue
            with processes.together():
                if "values" in wanted:
                    logps, values = policy.valued(batch)
                    _put(found, "old_logps", logps)
                    _put(found, "values", values)
                elif wanted & {"old_logps", "entropy"}:
                    said = policy.logprobs(batch, entropy="entropy" in wanted)
                    _put(found, "old_logps", said.logps)
                    _put(found, "entropy", said.entropy)
                if "ref_logps" in wanted:
                    _put(found, "ref_logps", policy.reference(batch))
    return {
        name: torch.cat([torch.zeros(0), *(part.float().cpu() for part in parts)])
        for name, parts in found.items()
    }


def _put(found: dict[str, list[Tensor]], name: str, values: Tensor | None) -> None:
    if name in found and values is not None:
        found[name].append(values)


def check_gap(old_logps_N: Tensor, engine_logps_N: Tensor, processes: Processes) -> None:
    """Hold the engine's log-probabilities of the first replies against the trainer's.

    Raises:
        ModelError: they differ, so that the replies are not the policy's.
    """
    gap = float((old_logps_N - engine_logps_N).abs().sum())
    total, count = processes.sum([gap, float(len(old_logps_N))])
    if count and not total / count <= MOST_GAP:
        raise ModelError(
            f"the engine's log-probabilities differ from the trainer's by {total / count:.3f} "
            f"nats a token on the first {int(count)} sampled tokens; at most {MOST_GAP} is "
            "expected. What it samples from is not the policy: set --top_p 1 --top_k -1, and "
            "try --torch_dtype float32 or --layout rows."
        )
