"""What is reported of a step's rollouts: sums and counts by name."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from swiftrl.engine.base import Completion
from swiftrl.rlhf.rewards.scoring import Scores

__all__ = ["length_sums", "reward_sums", "spread_sums"]

Counted = dict[str, tuple[float, float]]


def reward_sums(scores: Scores) -> Counted:
    """Return the rewards' sums over the replies that could be scored."""
    sums = {"reward": _known(scores.total)}
    for index, name in enumerate(scores.names):
        sums[f"rewards/{name}"] = _known(scores.values[:, index])
    return sums


def _known(values: Tensor) -> tuple[float, float]:
    known = values[~values.isnan()]
    return float(known.sum()), float(len(known))


def length_sums(completions: Sequence[Sequence[Completion]]) -> Counted:
    """Return the replies' tokens, and how many replies were cut off."""
    replies = [reply for written in completions for reply in written]
    tokens = sum(len(reply.token_ids) for reply in replies)
    cut = sum(reply.finish_reason == "length" for reply in replies)
    return {
        "completions/mean_length": (float(tokens), float(len(replies))),
        "completions/cut_off": (float(cut), float(len(replies))),
    }


def spread_sums(rewards_PG: Tensor) -> Counted:
    """Return the groups' standard deviations, and how many groups have none.

    Args:
        rewards_PG: [P, G], G replies to each of P prompts; not a number where there is no score.
    """
    if not len(rewards_PG):
        return {}
    groups = float(len(rewards_PG))
    spread_P = rewards_PG.std(1).nan_to_num()
    return {
        "reward_std": (float(spread_P.sum()), groups),
        "zero_spread": (float((rewards_PG.amax(1) == rewards_PG.amin(1)).sum()), groups),
    }
