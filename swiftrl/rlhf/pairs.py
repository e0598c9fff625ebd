"""What losses on pairs need of a batch, and the metrics that they share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from swiftrl.rlhf.algorithm import LossInputs

__all__ = ["PairLogps", "pair_logps", "pair_metrics"]


@dataclass(frozen=True, slots=True)
class PairLogps:
    """[B] values of the pairs of a batch, nats.

    Attributes:
        chosen: sum of the chosen reply's log-probabilities, rejected: the other's.
        chosen_mean: mean over its tokens, rejected_mean: the other's.
    """

    chosen: Tensor
    rejected: Tensor
    chosen_mean: Tensor
    rejected_mean: Tensor


def pair_logps(inputs: LossInputs) -> PairLogps:
    """Sum and average the policy's log-probabilities over each reply, weighted as the data say."""
    total_B = inputs.per_sequence(inputs.weights * inputs.logps)
    mean_B = total_B / inputs.per_sequence(inputs.weights).clamp(min=1)
    return PairLogps(total_B[::2], total_B[1::2], mean_B[::2], mean_B[1::2])


def pair_metrics(
    pairs: PairLogps, chosen_reward_B: Tensor, rejected_reward_B: Tensor
) -> Mapping[str, tuple[Tensor | float, Tensor | float]]:
    """Return rewards, how often the chosen reply wins (a tie is half), and log-probabilities."""
    count = float(len(pairs.chosen))
    chosen, rejected = chosen_reward_B.detach(), rejected_reward_B.detach()
    won = (chosen > rejected).float() + 0.5 * (chosen == rejected).float()
    return {
        "rewards/accuracies": (won.sum(), count),
        "rewards/margins": ((chosen - rejected).sum(), count),
        "rewards/chosen": (chosen.sum(), count),
        "rewards/rejected": (rejected.sum(), count),
        "logps/chosen": (pairs.chosen.detach().sum(), count),
        "logps/rejected": (pairs.rejected.detach().sum(), count),
        "nll_loss": (-pairs.chosen_mean.detach().sum(), count),
    }
