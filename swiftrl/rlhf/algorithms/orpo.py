"""Odds-ratio preference optimisation: instruction tuning and preferences in one, no reference."""

from __future__ import annotations

from dataclasses import dataclass

from swiftrl.core.config import setting
from swiftrl.core.errors import ConfigError
from swiftrl.rlhf.algorithm import Algorithm, LossInputs, LossOutput

__all__ = ["ALGORITHM", "Orpo", "OrpoConfig"]


@dataclass(frozen=True)
class OrpoConfig:
    """ORPO."""

    beta: float = setting(0.1, "Weight of the odds-ratio loss beside the likelihood of the chosen.")


class Orpo(Algorithm[OrpoConfig]):
    """ORPO: the chosen reply is learnt, and its odds are raised above the rejected one's.

    Deviation: the likelihood is of the chosen reply alone, as eq. 2 has it, averaged by reply; the
    authors' code and TRL train the prompt's tokens as well.
    """

    name = "orpo"
    summary = "Odds-ratio preference optimisation: learns the chosen reply too; no reference."
    paper = "arXiv:2403.07691"
    Config = OrpoConfig
    row_kind = "preference"
    loss_scale = "last_round"

    def __init__(self, config: OrpoConfig) -> None:
        super().__init__(config)
        if config.beta <= 0:
            raise ConfigError(f"--beta {config.beta}: expected a number above 0.")

    def loss(self, inputs: LossInputs) -> LossOutput:
        """Return likelihood and odds-ratio loss (eq. 6), counted in pairs."""
        from swiftrl.rlhf.pairs import pair_logps, pair_metrics
        from swiftrl.rlhf.reference_free import log_odds, orpo_loss

        pairs, beta = pair_logps(inputs), self.config.beta
        odds_B = orpo_loss(pairs.chosen_mean, pairs.rejected_mean)
        count = float(len(odds_B))
        log_ratio = (log_odds(pairs.chosen_mean) - log_odds(pairs.rejected_mean)).detach()
        metrics = {
            **pair_metrics(pairs, beta * pairs.chosen_mean, beta * pairs.rejected_mean),
            "log_odds_ratio": (log_ratio.sum(), count),
            "odds_ratio_loss": (odds_B.detach().sum(), count),
        }
        return LossOutput((beta * odds_B - pairs.chosen_mean).sum(), count, metrics)


ALGORITHM = Orpo
