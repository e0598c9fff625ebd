"""Reward models from preferences."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from swiftrl.core.config import setting
from swiftrl.core.errors import ConfigError, DataError
from swiftrl.rlhf.algorithm import Algorithm, LossInputs, LossOutput

if TYPE_CHECKING:
    import numpy as np

__all__ = ["ALGORITHM", "Rm", "RmConfig"]


@dataclass(frozen=True)
class RmConfig:
    """Reward model."""

    center_rewards_coefficient: float | None = setting(
        None,
        "Weight of the square of a pair's summed scores, which holds them around 0 "
        "(arXiv:2312.09244); 0.01 is usual.",
    )


class Rm(Algorithm[RmConfig]):
    """A head on the last token of a conversation learns to score the chosen reply higher."""

    name = "rm"
    summary = "Reward model (Bradley-Terry), with margins: scores conversations."
    paper = "arXiv:2203.02155"
    Config = RmConfig
    row_kind = "preference"
    loss_scale = "last_round"
    num_scores = 1

    def __init__(self, config: RmConfig) -> None:
        super().__init__(config)
        weight = config.center_rewards_coefficient
        if weight is not None and weight < 0:
            raise ConfigError(f"--center_rewards_coefficient {weight}: expected 0 or more.")

    def check_columns(
        self, columns: Mapping[str, np.ndarray], origin: Callable[[int], str]
    ) -> None:
        """Refuse rows of which some have a margin and some have none.

        Raises:
            DataError: it names the first without.
        """
        margins = columns["margin"]
        absent = margins != margins  # not a number: the row has none
        if absent.any() and not absent.all():
            raise DataError(
                f'{origin(int(absent.argmax()))}: row has no "margin", and '
                f"{int((~absent).sum())} of {len(absent)} rows have one. Give every row its margin "
                "(0 for none), or remove the column."
            )

    def loss(self, inputs: LossInputs) -> LossOutput:
        """Return the ranking loss with each pair's margin, counted in pairs."""
        from swiftrl.rlhf.reward_losses import bradley_terry_loss, centring_loss

        assert inputs.scores is not None
        scores_B = inputs.scores[:, 0]
        chosen_B, rejected_B = scores_B[::2], scores_B[1::2]
        margin_B = inputs.columns["margin"].nan_to_num() if "margin" in inputs.columns else 0.0
        loss_B = bradley_terry_loss(chosen_B, rejected_B, margin_B=margin_B)
        if self.config.center_rewards_coefficient is not None:
            centring_B = centring_loss(chosen_B, rejected_B)
            loss_B = loss_B + self.config.center_rewards_coefficient * centring_B
        count = float(len(loss_B))
        chosen, rejected = chosen_B.detach(), rejected_B.detach()
        won = (chosen > rejected).float() + 0.5 * (chosen == rejected).float()
        metrics = {
            "rewards/accuracies": (won.sum(), count),
            "rewards/margins": ((chosen - rejected).sum(), count),
            "rewards/chosen": (chosen.sum(), count),
            "rewards/rejected": (rejected.sum(), count),
        }
        return LossOutput(loss_B.sum(), count, metrics)


ALGORITHM = Rm
