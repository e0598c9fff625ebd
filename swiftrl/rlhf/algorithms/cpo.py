"""Contrastive preference optimisation: DPO without a reference, and the chosen reply learnt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from swiftrl.core.config import setting
from swiftrl.core.errors import ConfigError
from swiftrl.rlhf.algorithm import Algorithm, LossInputs, LossOutput

if TYPE_CHECKING:
    from torch import Tensor

    from swiftrl.rlhf.algorithms.simpo import SimpoConfig
    from swiftrl.rlhf.pairs import PairLogps

__all__ = ["ALGORITHM", "Cpo", "CpoConfig", "check_ranges"]


@dataclass(frozen=True)
class CpoConfig:
    """CPO."""

    beta: float = setting(0.1, "Scale of the difference of the replies' log-probabilities.")
    loss_type: str = setting(
        "sigmoid",
        "Loss: sums of log-probabilities (sigmoid, hinge) or means (simpo, ipo).",
        choices=("sigmoid", "simpo", "hinge", "ipo"),
    )
    cpo_alpha: float = setting(
        1.0, "Weight of the chosen reply's mean negative log-likelihood; 0 leaves it out."
    )
    simpo_gamma: float = setting(1.0, "Margin of --loss_type simpo.")
    label_smoothing: float = setting(
        0.0, "Probability that a label is wrong (sigmoid and simpo only)."
    )


def check_ranges(config: CpoConfig | SimpoConfig) -> None:
    """Refuse settings out of range that losses without a reference share.

    Raises:
        ConfigError: it names the setting and its range.
    """
    if config.beta <= 0:
        raise ConfigError(f"--beta {config.beta}: expected a number above 0.")
    if config.cpo_alpha < 0:
        raise ConfigError(f"--cpo_alpha {config.cpo_alpha}: expected 0 or more.")
    if not 0 <= config.label_smoothing < 0.5:
        raise ConfigError(
            f"--label_smoothing {config.label_smoothing}: expected 0 up to, not including, 0.5."
        )


class Cpo(Algorithm[CpoConfig]):
    """CPO: the chosen reply is learnt and set apart from the rejected one; no reference."""

    name = "cpo"
    summary = (
        "Contrastive preference optimisation: DPO's loss without a reference, plus likelihood."
    )
    paper = "arXiv:2401.08417"
    Config = CpoConfig
    row_kind = "preference"
    loss_scale = "last_round"

    def __init__(self, config: CpoConfig) -> None:
        super().__init__(config)
        check_ranges(config)
        if config.label_smoothing and config.loss_type in ("hinge", "ipo"):
            raise ConfigError(
                f"--label_smoothing {config.label_smoothing}: --loss_type {config.loss_type} has "
                "none; it is for sigmoid and simpo."
            )

    def loss(self, inputs: LossInputs) -> LossOutput:
        """Return the loss (eq. 5: preference and likelihood), counted in pairs."""
        from swiftrl.rlhf.pairs import pair_logps, pair_metrics

        pairs, config = pair_logps(inputs), self.config
        loss_B = self._preference(pairs) - config.cpo_alpha * pairs.chosen_mean
        means = config.loss_type in ("simpo", "ipo")
        chosen_B = pairs.chosen_mean if means else pairs.chosen
        rejected_B = pairs.rejected_mean if means else pairs.rejected
        return LossOutput(
            loss_B.sum(),
            float(len(loss_B)),
            pair_metrics(pairs, config.beta * chosen_B, config.beta * rejected_B),
        )

    def _preference(self, pairs: PairLogps) -> Tensor:
        from swiftrl.rlhf import reference_free as losses

        config, beta = self.config, self.config.beta
        smoothing = config.label_smoothing
        if config.loss_type == "simpo":
            return losses.simpo_loss(
                pairs.chosen_mean,
                pairs.rejected_mean,
                beta=beta,
                gamma=config.simpo_gamma,
                label_smoothing=smoothing,
            )
        if config.loss_type == "hinge":
            return losses.cpo_hinge_loss(pairs.chosen, pairs.rejected, beta=beta)
        if config.loss_type == "ipo":
            return losses.cpo_ipo_loss(pairs.chosen_mean, pairs.rejected_mean, beta=beta)
        return losses.cpo_loss(pairs.chosen, pairs.rejected, beta=beta, label_smoothing=smoothing)


ALGORITHM = Cpo
