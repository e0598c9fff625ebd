"""Rollouts by hand, for algorithms to judge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from swiftrl.rlhf.judging import Rollout


def rollout(
    rewards: Sequence[float],
    groups: Sequence[int],
    *,
    lengths: Sequence[int] | None = None,
    cut: Sequence[bool] | None = None,
    each: Sequence[Sequence[float]] | None = None,
    weights: Sequence[float] = (1.0,),
    greedy: Sequence[float] | None = None,
    tokens: Mapping[str, Sequence[float]] | None = None,
) -> Rollout:
    """Make a rollout; replies are a token long and rewards one function's unless said otherwise."""
    total = torch.tensor(rewards, dtype=torch.float32)
    lengths_B: Tensor = torch.tensor(lengths or [1] * len(rewards))
    return Rollout(
        rewards_B=total,
        group_index_B=torch.tensor(groups),
        lengths_B=lengths_B,
        cut_B=torch.tensor(cut or [False] * len(rewards)),
        rewards_BF=total[:, None] if each is None else torch.tensor(each),
        reward_weights_F=torch.tensor(weights),
        greedy_P=None if greedy is None else torch.tensor(greedy),
        sequence_index_N=torch.repeat_interleave(torch.arange(len(rewards)), lengths_B),
        token_values={name: torch.tensor(values) for name, values in (tokens or {}).items()},
    )
