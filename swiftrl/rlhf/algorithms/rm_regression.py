"""Reward models from scores of single replies, by one or several measures."""

from __future__ import annotations

from dataclasses import dataclass

from swiftrl.core.config import setting
from swiftrl.core.errors import ConfigError
from swiftrl.rlhf.algorithm import Algorithm, LossInputs, LossOutput

__all__ = ["ALGORITHM", "RmRegression", "RmRegressionConfig"]


@dataclass(frozen=True)
class RmRegressionConfig:
    """Reward model by regression."""

    objectives: list[str] = setting(
        ["score"],
        "Numbers of a row to be learnt: columns, or names in its column scores. One head each.",
    )


class RmRegression(Algorithm[RmRegressionConfig]):
    """A head on a conversation's last token learns the numbers that a reply was given."""

    name = "rm_regression"
    summary = "Reward model by regression: learns scores of replies, one or several objectives."
    paper = "arXiv:2311.09528"
    Config = RmRegressionConfig
    row_kind = "scored"
    loss_scale = "last_round"
    num_scores = 1

    def __init__(self, config: RmRegressionConfig) -> None:
        super().__init__(config)
        names = config.objectives
        if not names or len(set(names)) < len(names):
            raise ConfigError(
                f"--objectives {' '.join(names)}: expected at least one name, none of them twice."
            )
        self.objectives = tuple(names)
        self.num_scores = len(names)

    def loss(self, inputs: LossInputs) -> LossOutput:
        """Return the mean squared errors, counted in replies."""
        from torch import stack

        from swiftrl.rlhf.reward_losses import regression_loss

        assert inputs.scores is not None
        targets_BK = stack([inputs.columns[name] for name in self.objectives], dim=1)
        loss_B = regression_loss(inputs.scores, targets_BK)
        errors_BK = (inputs.scores.detach() - targets_BK).square()
        metrics = {}
        for number, name in enumerate(self.objectives):
            errors_B = errors_BK[:, number]
            known_B = ~errors_B.isnan()
            metrics[f"mse/{name}"] = (errors_B.nan_to_num().sum(), known_B.float().sum())
        return LossOutput(loss_B.sum(), float(len(loss_B)), metrics)


ALGORITHM = RmRegression
