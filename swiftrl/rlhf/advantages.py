"""Advantages of whole replies from their rewards: pure functions, no gradient.

Shape suffixes: B sequences, P groups (prompts), F reward functions. `rewards_B` is [B], float32 or
wider; NaN means that nothing could score the reply: it takes no part in any statistic and its
advantage is 0. `group_index_B` is [B] int64, which of the P groups (0 .. P - 1) a reply belongs
to; groups may differ in size and their replies may stand in any order. Results are [B].

A group whose rewards do not differ teaches nothing. That is tested for explicitly (`zero_spread`)
and gives exactly 0: seven rewards of 0.1 in float32 have a mean that is not 0.1, and dividing the
rounding by a standard deviation of rounding would give advantages of order 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from swiftrl.rlhf.gae import no_spread, whiten

__all__ = [
    "SCALE_EPSILON",
    "Scale",
    "gdpo_advantages",
    "gpg_advantages",
    "group_advantages",
    "leave_one_out_advantages",
    "opo_advantages",
    "pass_at_k_advantages",
    "reinforce_plus_plus_advantages",
    "reinforce_plus_plus_baseline_advantages",
    "remax_advantages",
    "zero_spread",
]

Scale = Literal["group", "batch", "none"]

SCALE_EPSILON = 1e-4
"""Added to standard deviations of rewards, as TRL and ms-swift do (verl: 1e-6)."""


@dataclass(frozen=True, slots=True)
class _Groups:
    """Rewards by group with the unscorable set aside.

    Attributes:
        rewards_B: [B] float32 or wider, 0 where unscorable.
        scorable_B: [B] bool.
        index_B: [B] int64, the group.
        counts_P: [P] scorable replies of each group.
        highest_P: [P] largest reward, -inf where nothing was scorable.
        flat_P: [P] bool, whether the group's rewards do not differ.
    """

    rewards_B: Tensor
    scorable_B: Tensor
    index_B: Tensor
    counts_P: Tensor
    highest_P: Tensor
    flat_P: Tensor

    def sum(self, values_B: Tensor) -> Tensor:
        """Return [P] sums over the scorable replies of each group."""
        kept_B = torch.where(self.scorable_B, values_B, 0)
        return torch.zeros_like(self.counts_P).index_add(0, self.index_B, kept_B)

    def spread(self, values_B: Tensor) -> Tensor:
        """Return [B]: each reply gets its group's value."""
        return values_B[self.index_B]

    def centred(self) -> Tensor:
        """Return [B] rewards minus the mean of their group, 0 where flat or unscorable."""
        mean_P = self.sum(self.rewards_B) / self.counts_P.clamp(min=1)
        return self.keep(self.rewards_B - self.spread(mean_P))

    def deviation(self, centred_B: Tensor) -> Tensor:
        """Return [P] standard deviations (n - 1 in the denominator) of centred rewards."""
        return (self.sum(centred_B**2) / (self.counts_P - 1).clamp(min=1)).sqrt()

    def keep(self, advantages_B: Tensor) -> Tensor:
        """Return the advantages with 0 where a group is flat or a reply unscorable."""
        return torch.where(self.scorable_B & ~self.spread(self.flat_P), advantages_B, 0)


def _groups(rewards_B: Tensor, group_index_B: Tensor) -> _Groups:
    rewards_B = rewards_B.to(torch.promote_types(rewards_B.dtype, torch.float32))
    scorable_B = ~rewards_B.isnan()
    # Rewards and groups are on the host.
    num_groups = int(group_index_B.max()) + 1 if len(group_index_B) else 0
    empty_P = rewards_B.new_zeros(num_groups)

    def extreme(reduce: Literal["amax", "amin"], neutral: float) -> Tensor:
        values_B = torch.where(scorable_B, rewards_B, neutral)
        return (empty_P + neutral).scatter_reduce(0, group_index_B, values_B, reduce)

    highest_P, lowest_P = extreme("amax", -torch.inf), extreme("amin", torch.inf)
    counts_P = empty_P.index_add(0, group_index_B, scorable_B.to(rewards_B.dtype))
    return _Groups(
        rewards_B=torch.where(scorable_B, rewards_B, 0),
        scorable_B=scorable_B,
        index_B=group_index_B,
        counts_P=counts_P,
        highest_P=highest_P,
        flat_P=no_spread(highest_P, lowest_P) | (counts_P < 2),
    )


def zero_spread(rewards_B: Tensor, group_index_B: Tensor) -> Tensor:
    """Return [P] bool: the group's rewards do not differ, so that it gives no advantage.

    True as well for groups with fewer than two scorable replies. Dynamic sampling (DAPO,
    arXiv:2503.14476, section 3.2) replaces these groups by others.
    """
    return _groups(rewards_B, group_index_B).flat_P


def group_advantages(
    rewards_B: Tensor,
    group_index_B: Tensor,
    *,
    scale: Scale,
    epsilon: float = SCALE_EPSILON,
) -> Tensor:
    """GRPO: reward minus the group's mean, Shao et al. 2024 (arXiv:2402.03300), section 4.1.2.

    Args:
        rewards_B: [B] rewards, NaN where unscorable.
        group_index_B: [B] int64 groups.
        scale: "group" divides by the group's standard deviation (GRPO); "batch" by that of all
            rewards (arXiv:2508.08221); "none" does not divide (Dr.GRPO, arXiv:2503.20783).
        epsilon: added to the standard deviation, which has n - 1 in its denominator.

    Returns:
        [B] advantages.
    """
    groups = _groups(rewards_B, group_index_B)
    centred_B = groups.centred()
    if scale == "group":
        deviation_B = groups.spread(groups.deviation(centred_B))
        return groups.keep(centred_B / (deviation_B + epsilon))
    if scale == "batch":
        scored = groups.rewards_B[groups.scorable_B]
        deviation = scored.std() if len(scored) > 1 else scored.new_zeros(())
        return groups.keep(centred_B / (deviation + epsilon))
    if scale == "none":
        return centred_B
    raise ValueError(f"scale is {scale!r}; expected group, batch or none")


def leave_one_out_advantages(rewards_B: Tensor, group_index_B: Tensor) -> Tensor:
    """RLOO: reward minus the mean of the group's others, Ahmadian et al. 2024 (arXiv:2402.14740).

    Computed as n / (n - 1) times the distance from the group's mean, which is the same number.
    """
    groups = _groups(rewards_B, group_index_B)
    factor_P = groups.counts_P / (groups.counts_P - 1).clamp(min=1)
    return groups.centred() * groups.spread(factor_P)


def _weights(scorable_B: Tensor, lengths_B: Tensor | None) -> Tensor:
    return scorable_B if lengths_B is None else scorable_B * lengths_B


def reinforce_plus_plus_advantages(rewards_B: Tensor, *, lengths_B: Tensor | None = None) -> Tensor:
    """REINFORCE++: rewards whitened over the batch, Hu et al. 2025 (arXiv:2501.03262).

    Args:
        rewards_B: [B] rewards of the whole batch, NaN where unscorable.
        lengths_B: [B] trained tokens of each reply: the statistics are over tokens, as in
            OpenRLHF and verl. None: over replies.
    """
    scorable_B = ~rewards_B.isnan()
    filled_B = torch.where(scorable_B, rewards_B, 0)
    return torch.where(scorable_B, whiten(filled_B, _weights(scorable_B, lengths_B)), 0)


def reinforce_plus_plus_baseline_advantages(
    rewards_B: Tensor, group_index_B: Tensor, *, lengths_B: Tensor | None = None
) -> Tensor:
    """REINFORCE++ with baseline (arXiv:2501.03262): minus the group's mean, then whitened.

    Over replies the mean is 0 by construction and is not subtracted again, so that groups without
    spread keep exactly 0. Over tokens it is not 0 and goes, from such groups too, as published.

    Args:
        rewards_B: [B] rewards of the whole batch, NaN where unscorable.
        group_index_B: [B] int64 groups.
        lengths_B: [B] trained tokens of each reply: the statistics are over tokens. None: over
            replies.
    """
    groups = _groups(rewards_B, group_index_B)
    weights_B = _weights(groups.scorable_B, lengths_B)
    whitened_B = whiten(groups.centred(), weights_B)
    if lengths_B is None:
        return groups.keep(whitened_B)
    return torch.where(groups.scorable_B, whitened_B, 0)


def remax_advantages(rewards_B: Tensor, group_index_B: Tensor, greedy_rewards_P: Tensor) -> Tensor:
    """ReMax: reward minus that of the greedy reply, Li et al. 2023 (arXiv:2310.10505).

    Args:
        rewards_B: [B] rewards, NaN where unscorable.
        group_index_B: [B] int64 groups.
        greedy_rewards_P: [P] reward of each prompt's greedy reply; NaN gives its group 0.
    """
    return (rewards_B - greedy_rewards_P[group_index_B]).nan_to_num(nan=0.0)


def opo_advantages(rewards_B: Tensor, group_index_B: Tensor, lengths_B: Tensor) -> Tensor:
    """OPO: the variance-optimal baseline, Hao et al. 2025 (arXiv:2505.23585).

    The baseline of a group is the mean of its rewards weighted by `lengths_B`, the [B] numbers of
    trained tokens: sum(l r) / sum(l).
    """
    groups = _groups(rewards_B, group_index_B)
    lengths_B = lengths_B.to(groups.rewards_B.dtype)
    total_P = groups.sum(lengths_B).clamp(min=1)
    baseline_P = groups.sum(lengths_B * groups.rewards_B) / total_P
    return groups.keep(groups.rewards_B - groups.spread(baseline_P))


def gpg_advantages(rewards_B: Tensor, group_index_B: Tensor) -> Tensor:
    """GPG: reward minus the group's mean, Chu et al. 2025 (arXiv:2504.02546).

    F_norm is 1. All advantages are multiplied by alpha = P / (P - M) (eq. 7), M of the P groups
    being without spread, so that these do not shrink the gradient. The loss is REINFORCE's.
    """
    groups = _groups(rewards_B, group_index_B)
    varied = (~groups.flat_P).sum().clamp(min=1)
    return groups.centred() * (len(groups.flat_P) / varied)


def pass_at_k_advantages(rewards_B: Tensor, group_index_B: Tensor) -> Tensor:
    """Advantages for the best of a group, Tang et al. 2025 (arXiv:2503.19595).

    The objective is max(r_1 .. r_k) over the k replies of a prompt, with the leave-one-out
    baseline max over the others: the single best reply gets its distance from the second best,
    all others (and ties) 0. k is the group's size.
    """
    groups = _groups(rewards_B, group_index_B)
    best_B = groups.scorable_B & (groups.rewards_B == groups.spread(groups.highest_P))
    others_B = torch.where(groups.scorable_B & ~best_B, groups.rewards_B, -torch.inf)
    second_P = torch.full_like(groups.counts_P, -torch.inf).scatter_reduce(
        0, group_index_B, others_B, "amax"
    )
    alone_B = groups.spread(groups.sum(best_B.to(others_B.dtype))) == 1
    margin_B = groups.rewards_B - groups.spread(second_P)
    return groups.keep(torch.where(best_B & alone_B, margin_B, 0))


def gdpo_advantages(
    rewards_BF: Tensor,
    group_index_B: Tensor,
    reward_weights_F: Tensor,
    *,
    epsilon: float = SCALE_EPSILON,
) -> Tensor:
    """GDPO for many rewards: normalise each, then sum, Liu et al. 2026 (arXiv:2601.05242).

    Each reward is normalised in its group as in GRPO, the weighted sum of them is divided by its
    standard deviation over the batch. That sum has mean 0 by construction, so no mean is
    subtracted and replies whose rewards all lack spread keep exactly 0.

    Args:
        rewards_BF: [B, F] rewards; NaN where that function could not score the reply: it then
            adds nothing to the sum. A reply that none could score gets 0.
        group_index_B: [B] int64 groups.
        reward_weights_F: [F] weights of the sum.
        epsilon: added to both standard deviations.
    """
    normalised_BF = torch.stack(
        [
            group_advantages(column_B, group_index_B, scale="group", epsilon=epsilon)
            for column_B in rewards_BF.unbind(1)
        ],
        dim=1,
    )
    sum_B = normalised_BF @ reward_weights_F.to(normalised_BF.dtype)
    scorable_B = ~rewards_BF.isnan().all(dim=1)
    count = scorable_B.sum()
    deviation = ((sum_B**2).sum() / (count - 1).clamp(min=1)).sqrt()
    return torch.where(sum_B == 0, 0, sum_B / (deviation + epsilon))
