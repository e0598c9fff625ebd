"""What a rollout is judged by: rewards of its replies, and what models say of their tokens.

Shape suffixes: P prompts, B replies, F rewards, N tokens of replies.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Judged", "Rollout"]


@dataclass(frozen=True, slots=True)
class Rollout:
    """A whole rollout, over all processes; on the host, without gradient.

    Attributes:
        rewards_B: [B] float32, the weighted sum of the rewards; not a number where a reply could
            not be scored.
        group_index_B: [B] int64, ascending: which prompt it answers.
        lengths_B: [B] int64 tokens.
        cut_B: [B] bool: it was cut off at the longest reply.
        rewards_BF: [B, F] float32, each reward.
        reward_weights_F: [F] float32.
        greedy_P: [P] reward of each prompt's likeliest reply, of algorithms that ask for it.
        sequence_index_N: [N] int64, ascending: which reply a token belongs to.
        token_values: [N] float32 by name, of the weights that sampled: "engine_logps" always;
            "old_logps", "ref_logps", "entropy", "values" where they were asked for (`reads`).
    """

    rewards_B: Tensor
    group_index_B: Tensor
    lengths_B: Tensor
    cut_B: Tensor
    rewards_BF: Tensor
    reward_weights_F: Tensor
    greedy_P: Tensor | None
    sequence_index_N: Tensor
    token_values: Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class Judged:
    """What the loss is to find beside the tokens.

    Attributes:
        sequence_values: [B] float32 by name; "advantages" among them, which is what
            completions.jsonl shows.
        token_values: [N] float32 by name.
        metrics: name -> (sum, count), of the whole rollout.
    """

    sequence_values: Mapping[str, Tensor]
    token_values: Mapping[str, Tensor] = field(default_factory=dict)
    metrics: Mapping[str, tuple[float, float]] = field(default_factory=dict)
