"""REINFORCE with the group's mean as a plugin: `--external_plugins reinforce.py`."""

from dataclasses import dataclass

from swiftrl.core.config import setting
from swiftrl.rlhf.algorithm import ALGORITHMS, LossInputs, LossOutput
from swiftrl.rlhf.judging import Rollout
from swiftrl.rlhf.online import OnlineAlgorithm, RolloutConfig


@dataclass(frozen=True)
class ReinforceConfig(RolloutConfig):
    """REINFORCE."""

    entropy_coef: float = setting(0.0, "Weight of a bonus for unlikely tokens.")


class Reinforce(OnlineAlgorithm[ReinforceConfig]):
    """-A log pi, Williams 1992; A is the reward less the mean of the prompt's replies."""

    name = "reinforce"
    summary = "REINFORCE with the group's mean as baseline."
    Config = ReinforceConfig

    def advantages(self, rollout: Rollout):
        """Return [B] advantages of the whole rollout, over all processes."""
        from swiftrl.rlhf.advantages import group_advantages

        return group_advantages(rollout.rewards_B, rollout.group_index_B, scale="none")

    def loss(self, inputs: LossInputs) -> LossOutput:
        """Return the loss of a micro-batch, summed over its tokens."""
        advantages = inputs.sequence_values["advantages"][inputs.sequence_index]
        bonus = self.config.entropy_coef * inputs.logps.detach()
        losses = -(advantages - bonus) * inputs.logps
        return LossOutput((inputs.weights * losses).sum(), float(len(losses)))


ALGORITHMS.register("reinforce", Reinforce)
