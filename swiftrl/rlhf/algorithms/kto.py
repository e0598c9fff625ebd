"""Kahneman-Tversky optimisation and its kin: replies that are each good or bad on their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from swiftrl.core.config import setting
from swiftrl.core.errors import ConfigError, DataError
from swiftrl.rlhf.algorithm import Algorithm, LossInputs, LossOutput

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

__all__ = ["ALGORITHM", "Kto", "KtoConfig"]


@dataclass(frozen=True)
class KtoConfig:
    """KTO."""

    beta: float = setting(
        0.1, "Scale of the implicit reward: how closely to keep to the reference."
    )
    loss_type: str = setting(
        "kto", "Loss on single replies.", choices=("kto", "apo_zero_unpaired", "bco")
    )
    desirable_weight: float = setting(1.0, "Weight of the good replies' losses.")
    undesirable_weight: float = setting(
        1.0, "Weight of the bad ones'. Where labels are lopsided, give the rarer ones more weight."
    )


class Kto(Algorithm[KtoConfig]):
    """KTO: good replies gain, bad ones lose, measured from how far the policy has moved already."""

    name = "kto"
    summary = "Kahneman-Tversky optimisation (and unpaired APO, BCO): replies labelled good or bad."
    paper = "arXiv:2402.01306"
    Config = KtoConfig
    row_kind = "labelled"
    loss_scale = "last_round"

    def __init__(self, config: KtoConfig) -> None:
        super().__init__(config)
        for name in ("beta", "desirable_weight", "undesirable_weight"):
            value = getattr(config, name)
            if value <= 0:
                raise ConfigError(f"--{name} {value}: expected a number above 0.")
        self.reward_sum, self.reward_count = 0.0, 0

    def check_columns(
        self, columns: Mapping[str, np.ndarray], origin: Callable[[int], str]
    ) -> None:
        """Refuse rows that all have the same label.

        Raises:
            DataError: they have.
        """
        labels = columns["label"]
        if (labels > 0.5).all():
            raise DataError(
                f"all {len(labels)} training rows are labelled true; --rlhf_type kto needs good "
                "and bad replies. Good ones alone are learnt by `swiftrl sft`."
            )
        if not (labels > 0.5).any():
            raise DataError(
                f"all {len(labels)} training rows are labelled false; --rlhf_type kto needs good "
                "and bad replies: from bad ones alone a model only unlearns."
            )

    @property
    def needs_reference(self) -> bool:
        """Rewards are relative to the reference."""
        return True

    @property
    def coupled(self) -> bool:
        """BCO shifts by the mean reward of all that was seen."""
        return self.config.loss_type == "bco"

    @property
    def estimates(self) -> bool:
        """KTO measures the policy's distance from the reference on mismatched replies."""
        return self.config.loss_type == "kto"

    def estimate(self, inputs: LossInputs) -> dict[str, tuple[Tensor, float]]:
        """Return "kl": the summed log-ratios of mismatched replies and their number (eq. 9)."""
        logratio_B = inputs.per_sequence(inputs.weights * (inputs.logps - _reference(inputs)))
        return {"kl": (logratio_B.sum(), float(len(logratio_B)))}

    def loss(self, inputs: LossInputs) -> LossOutput:
        """Return the weighted losses, counted in replies."""
        from torch import where

        logratio_B = inputs.per_sequence(inputs.weights * (inputs.logps - _reference(inputs)))
        desirable_B = inputs.columns["label"] > 0.5
        kl = max(0.0, inputs.statistics.get("kl", 0.0))
        anchor, loss_B = self._losses(logratio_B, desirable_B, kl, inputs.training)
        weight_B = where(
            desirable_B, self.config.desirable_weight, self.config.undesirable_weight
        ).to(loss_B.dtype)
        count = float(len(loss_B))
        rewards_B = self.config.beta * logratio_B.detach()
        metrics = {**_metrics(rewards_B, desirable_B, anchor)}
        if self.estimates:
            metrics["kl"] = (kl * count, count)
        return LossOutput((weight_B * loss_B).sum(), count, metrics)

    def state_dict(self) -> dict[str, Any]:
        """Return BCO's running mean as a sum and a count."""
        return {"reward_sum": self.reward_sum, "reward_count": self.reward_count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back the running mean."""
        self.reward_sum = float(state["reward_sum"])
        self.reward_count = int(state["reward_count"])

    def _losses(
        self, logratio_B: Tensor, desirable_B: Tensor, kl: float, training: bool
    ) -> tuple[float, Tensor]:
        """Return the reward that separates gain from loss, and each reply's loss."""
        from swiftrl.rlhf import unpaired

        beta = self.config.beta
        if self.config.loss_type == "kto":
            return beta * kl, unpaired.kto_loss(logratio_B, desirable_B, beta=beta, kl=kl)
        if self.config.loss_type == "bco":
            delta = self._mean_reward(beta * logratio_B.detach(), training)
            return delta, unpaired.bco_loss(logratio_B, desirable_B, beta=beta, delta=delta)
        return 0.0, unpaired.apo_zero_unpaired_loss(logratio_B, desirable_B, beta=beta)

    def _mean_reward(self, rewards_B: Tensor, training: bool) -> float:
        total = self.reward_sum + float(rewards_B.sum())
        count = self.reward_count + len(rewards_B)
        if training:
            self.reward_sum, self.reward_count = total, count
        elif self.reward_count:
            return self.reward_sum / self.reward_count
        return total / max(count, 1)


def _reference(inputs: LossInputs) -> Tensor:
    assert inputs.ref_logps is not None
    return inputs.ref_logps


def _metrics(
    rewards_B: Tensor, desirable_B: Tensor, anchor: float
) -> dict[str, tuple[Tensor | float, Tensor | float]]:
    """Return mean rewards of both kinds, and how many replies stand on their side of `anchor`."""
    good_B = desirable_B.to(rewards_B.dtype)
    right = (rewards_B > anchor) == desirable_B
    even = rewards_B == anchor
    won = right.float().where(~even, 0.5)
    return {
        "rewards/accuracies": (won.sum(), float(len(rewards_B))),
        "rewards/chosen": ((rewards_B * good_B).sum(), good_B.sum()),
        "rewards/rejected": ((rewards_B * (1 - good_B)).sum(), (1 - good_B).sum()),
    }


ALGORITHM = Kto
