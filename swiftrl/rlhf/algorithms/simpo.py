"""Simple preference optimisation: the mean log-probability is the reward, no reference."""

from __future__ import annotations

from dataclasses import dataclass

from swiftrl.core.config import setting
from swiftrl.rlhf.algorithm import Algorithm, LossInputs, LossOutput
from swiftrl.rlhf.algorithms.cpo import check_ranges

__all__ = ["ALGORITHM", "Simpo", "SimpoConfig"]


@dataclass(frozen=True)
class SimpoConfig:
    """SimPO."""

    beta: float = setting(2.0, "Scale of the reward, a reply's mean log-probability.")
    simpo_gamma: float = setting(1.0, "Margin by which the chosen reply's scaled reward must win.")
    cpo_alpha: float = setting(
        1.0, "Weight of the chosen reply's mean negative log-likelihood; 0 is the paper's SimPO."
    )
    alphapo_alpha: float = setting(
        0.0, "Shape of the reward, (1 - p^-alpha) / alpha (AlphaPO, arXiv:2501.03884); 0 is log p."
    )
    label_smoothing: float = setting(0.0, "Probability that a label is wrong.")


class Simpo(Algorithm[SimpoConfig]):
    """SimPO and, with a shaped reward, AlphaPO."""

    name = "simpo"
    summary = "Simple preference optimisation (and AlphaPO): length-normalised, no reference."
    paper = "arXiv:2405.14734"
    Config = SimpoConfig
    row_kind = "preference"
    loss_scale = "last_round"

    def __init__(self, config: SimpoConfig) -> None:
        super().__init__(config)
        check_ranges(config)

    def loss(self, inputs: LossInputs) -> LossOutput:
        """Return the loss (eq. 6, with the chosen reply's likelihood), counted in pairs."""
        from swiftrl.rlhf.pairs import pair_logps, pair_metrics
        from swiftrl.rlhf.reference_free import alphapo_reward, simpo_loss

        pairs, config = pair_logps(inputs), self.config
        chosen_B = alphapo_reward(pairs.chosen_mean, alpha=config.alphapo_alpha)
        rejected_B = alphapo_reward(pairs.rejected_mean, alpha=config.alphapo_alpha)
        loss_B = simpo_loss(
            chosen_B,
            rejected_B,
            beta=config.beta,
            gamma=config.simpo_gamma,
            label_smoothing=config.label_smoothing,
        )
        return LossOutput(
            (loss_B - config.cpo_alpha * pairs.chosen_mean).sum(),
            float(len(loss_B)),
            pair_metrics(pairs, config.beta * chosen_B, config.beta * rejected_B),
        )


ALGORITHM = Simpo
