"""Online DPO: the model's own replies, the best and the worst of a prompt's as a pair."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from swiftrl.core.config import setting
from swiftrl.core.errors import ConfigError
from swiftrl.rlhf.algorithm import LossInputs, LossOutput
from swiftrl.rlhf.judging import Judged, Rollout
from swiftrl.rlhf.online import OnlineAlgorithm, RolloutConfig

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["ALGORITHM", "OnlineDpo", "OnlineDpoConfig"]


@dataclass(frozen=True)
class OnlineDpoConfig(RolloutConfig):
    """Online DPO."""

    num_generations: int = setting(2, "Replies to each prompt; the best and the worst are a pair.")
    beta: float = setting(0.1, "Scale of the implicit reward.")
    loss_type: str = setting(
        "sigmoid",
        "Loss of a pair: sigmoid (DPO), hinge (SLiC) or ipo.",
        choices=("sigmoid", "hinge", "ipo"),
    )


class OnlineDpo(OnlineAlgorithm[OnlineDpoConfig]):
    """DPO's loss on pairs that the model has just written and the rewards have ranked.

    A prompt whose replies scored alike makes no pair.
    """

    name = "online_dpo"
    summary = "Online DPO: the best and the worst of the model's own replies are a pair."
    paper = "arXiv:2402.04792"
    Config = OnlineDpoConfig

    def __init__(self, config: OnlineDpoConfig) -> None:
        super().__init__(config)
        if config.beta <= 0:
            raise ConfigError(f"--beta {config.beta}: expected a number above 0.")

    @property
    def needs_reference(self) -> bool:
        """Always."""
        return True

    @property
    def whole_groups(self) -> bool:
        """The two replies of a pair meet in the loss."""
        return True

    def judge(self, rollout: Rollout) -> Judged:
        """Return 1 for the best reply of each prompt, -1 for its worst, 0 for the others."""
        preferred_B = self.advantages(rollout)
        return Judged({"advantages": preferred_B, "preferred": preferred_B})

    def advantages(self, rollout: Rollout) -> Tensor:
        """Return the same; the first of those that tie is taken."""
        from swiftrl.rlhf.advantages import zero_spread

        rewards_B = rollout.rewards_B
        found_B = rewards_B.new_zeros(len(rewards_B))
        flat_P = zero_spread(rewards_B, rollout.group_index_B)
        for group, flat in enumerate(flat_P.tolist()):
            if not flat:
                members = (rollout.group_index_B == group).nonzero().squeeze(1)
                scores = rewards_B[members]
                found_B[members[scores.nan_to_num(nan=-float("inf")).argmax()]] = 1
                found_B[members[scores.nan_to_num(nan=float("inf")).argmin()]] = -1
        return found_B

    def loss(self, inputs: LossInputs) -> LossOutput:
        """Return the loss of the micro-batch's pairs, counted in pairs."""
        import torch.nn.functional as F

        assert inputs.ref_logps is not None
        preferred_B = inputs.sequence_values["preferred"]
        weights_N, config = inputs.weights, self.config
        ratio_B = inputs.per_sequence(weights_N * (inputs.logps - inputs.ref_logps))
        if config.loss_type == "ipo":
            ratio_B = ratio_B / inputs.per_sequence(weights_N).clamp(min=1)
        chosen, rejected = ratio_B[preferred_B > 0], ratio_B[preferred_B < 0]
        margin = chosen - rejected
        if config.loss_type == "ipo":
            losses = (margin - 1 / (2 * config.beta)) ** 2
        elif config.loss_type == "hinge":
            losses = (1 - config.beta * margin).clamp(min=0)
        else:
            losses = -F.logsigmoid(config.beta * margin)
        pairs = float(len(margin))
        engine_N = inputs.token_values["engine_logps"]
        gap_N = (engine_N - inputs.token_values.get("old_logps", inputs.logps.detach())).abs()
        metrics: dict[str, tuple[Tensor | float, Tensor | float]] = {
            "rewards/accuracies": ((margin > 0).float().sum(), pairs),
            "rewards/margins": (config.beta * margin.detach().sum(), pairs),
            "engine_gap": (gap_N.sum(), float(len(gap_N))),
        }
        return LossOutput(losses.sum(), pairs, metrics)


ALGORITHM = OnlineDpo
