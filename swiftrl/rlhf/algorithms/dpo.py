"""Direct preference optimisation and the losses of its family."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from swiftrl.core.config import setting
from swiftrl.core.errors import ConfigError
from swiftrl.rlhf.algorithm import Algorithm, LossInputs, LossOutput

if TYPE_CHECKING:
    from torch import Tensor

    from swiftrl.rlhf.dpo_losses import DpoPairs

SMOOTHED = ("sigmoid", "robust", "exo_pair", "aot", "aot_unpaired")
DIFFERENCES = ("sigmoid", "robust", "exo_pair", "hinge", "discopop", "sft")
"""Losses of the two replies' difference alone, in which f-DPO's unknown term cancels."""
COUPLED = ("aot", "aot_unpaired", "bco_pair")
SORTED = ("aot", "aot_unpaired")
"""Losses by quantile, not by pair."""
LOSS_TYPES = (
    "sigmoid", "robust", "exo_pair", "hinge", "ipo", "sigmoid_norm", "bco_pair", "sppo_hard",
    "nca_pair", "aot", "aot_unpaired", "apo_zero", "apo_down", "discopop", "sft",
)  # fmt: skip


@dataclass(frozen=True)
class DpoConfig:
    """DPO."""

    beta: float = setting(
        0.1, "Scale of the implicit reward: how closely to keep to the reference."
    )
    loss_type: list[str] = setting(
        ["sigmoid"], "Loss, or several to be summed (MPO).", choices=LOSS_TYPES
    )
    loss_weights: list[float] = setting([], "Weight of each --loss_type. Unset: 1 each.")
    label_smoothing: float | None = setting(
        None,
        "Probability that a label is wrong: sigmoid (conservative DPO), robust, exo_pair, aot. "
        "Unset: 0, and 0.001 for exo_pair, which needs more than 0.",
    )
    rpo_alpha: float | None = setting(
        None, "Weight of the chosen reply's mean negative log-likelihood (RPO, arXiv:2404.19733)."
    )
    ld_alpha: float | None = setting(
        None,
        "Weight of the tokens by which one reply is longer than the other, in [0, 1] "
        "(LD-DPO, arXiv:2409.06411).",
    )
    use_weighting: bool = setting(
        False,
        "Weight each pair by how likely the policy would write it itself (WPO, arXiv:2406.11827).",
    )
    discopop_tau: float = setting(0.05, "Temperature of discopop.")
    f_divergence_type: str = setting(
        "reverse_kl",
        "How distance from the reference is measured (f-DPO, arXiv:2309.16240).",
        choices=("reverse_kl", "forward_kl", "js_divergence", "alpha_divergence"),
    )
    f_alpha_divergence_coef: float = setting(
        0.5, "Alpha of alpha_divergence, between forward (0) and reverse KL (1)."
    )


class Dpo(Algorithm[DpoConfig]):
    """DPO: the reply that people chose becomes likelier, relative to the reference."""

    name = "dpo"
    summary = "Direct preference optimisation and its family of losses."
    paper = "arXiv:2305.18290"
    Config = DpoConfig
    row_kind = "preference"
    loss_scale = "last_round"

    def __init__(self, config: DpoConfig) -> None:
        super().__init__(config)
        _check(config)
        self.weights = config.loss_weights or [1.0] * len(config.loss_type)
        self.reward_sum, self.reward_count = 0.0, 0

    @property
    def needs_reference(self) -> bool:
        """Every loss but plain sft compares with the reference."""
        return self.config.loss_type != ["sft"]

    @property
    def coupled(self) -> bool:
        """Optimal transport sorts the step's pairs; BCO shifts by their mean reward."""
        return any(kind in COUPLED for kind in self.config.loss_type)

    @property
    def wants_collision(self) -> bool:
        """WPO compares a reply's likelihood with that of anything."""
        return self.config.use_weighting

    def loss(self, inputs: LossInputs) -> LossOutput:
        """Return the weighted sum of the losses asked for, counted in pairs."""
        from swiftrl.rlhf.dpo_losses import LOSSES, dpo_metrics
        from swiftrl.rlhf.pair_weights import wpo_weights

        pairs = self._pairs(inputs)
        loss_B = pairs.chosen_logps.new_zeros(len(pairs.chosen_logps))
        for kind, weight in zip(self.config.loss_type, self.weights, strict=True):
            loss_B = loss_B + weight * LOSSES[kind](pairs, self.config)
        count = float(len(loss_B))
        metrics = dpo_metrics(pairs, self.config.beta)
        if self.config.use_weighting:
            weight_B = wpo_weights(inputs)
            loss_B = loss_B * weight_B
            metrics["pair_weights"] = (weight_B.sum(), count)
        if self.config.rpo_alpha is not None:
            loss_B = loss_B + self.config.rpo_alpha * pairs.chosen_nll
        return LossOutput(loss_B.sum(), count, metrics)

    def state_dict(self) -> dict[str, Any]:
        """Return BCO's running mean as a sum and a count."""
        return {"reward_sum": self.reward_sum, "reward_count": self.reward_count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back the running mean."""
        self.reward_sum = float(state["reward_sum"])
        self.reward_count = int(state["reward_count"])

    def _pairs(self, inputs: LossInputs) -> DpoPairs:
        from swiftrl.rlhf.dpo_losses import DpoPairs
        from swiftrl.rlhf.offline import f_derivative, length_desensitised_weights

        weights_N = inputs.weights
        if self.config.ld_alpha is not None:
            weights_N = weights_N * length_desensitised_weights(
                inputs.sequence_index, inputs.num_sequences, alpha=self.config.ld_alpha
            )
        logps = inputs.per_sequence(weights_N * inputs.logps)
        ref = inputs.ref_logps if inputs.ref_logps is not None else inputs.logps.detach()
        logratio = logps - inputs.per_sequence(weights_N * ref)
        score = f_derivative(
            logratio,
            divergence=self.config.f_divergence_type,
            alpha=self.config.f_alpha_divergence_coef,
        )
        length = inputs.per_sequence((weights_N > 0).to(inputs.logps.dtype))
        full_length = inputs.per_sequence(inputs.weights)
        nll = -inputs.per_sequence(inputs.weights * inputs.logps) / full_length.clamp(min=1)
        return DpoPairs(
            logps[::2], logps[1::2], score[::2], score[1::2],
            length[::2].clamp(min=1), length[1::2].clamp(min=1), nll[::2],
            self._shift(score, inputs.training),
        )  # fmt: skip

    def _shift(self, logratio: Tensor, training: bool) -> float:
        """Return BCO's delta, the running mean of all rewards seen in training."""
        if "bco_pair" not in self.config.loss_type:
            return 0.0
        total = self.reward_sum + self.config.beta * float(logratio.detach().sum())
        count = self.reward_count + len(logratio)
        if training:
            self.reward_sum, self.reward_count = total, count
        elif self.reward_count:
            return self.reward_sum / self.reward_count
        return total / max(count, 1)


def _check(config: DpoConfig) -> None:
    if config.beta <= 0:
        raise ConfigError(f"--beta {config.beta}: expected a number above 0.")
    if not config.loss_type:
        raise ConfigError(f"--loss_type: none given; expected some of {', '.join(LOSS_TYPES)}.")
    if config.loss_weights and len(config.loss_weights) != len(config.loss_type):
        raise ConfigError(
            f"--loss_weights: {len(config.loss_weights)} weights for {len(config.loss_type)} "
            f"losses ({', '.join(config.loss_type)}); give one each."
        )
    if config.ld_alpha is not None and not 0 <= config.ld_alpha <= 1:
        raise ConfigError(f"--ld_alpha {config.ld_alpha}: expected 0 to 1; 1 is plain DPO.")
    if config.discopop_tau <= 0:
        raise ConfigError(f"--discopop_tau {config.discopop_tau}: expected a number above 0.")
    by_quantile = [kind for kind in config.loss_type if kind in SORTED]
    if config.use_weighting and by_quantile:
        raise ConfigError(
            f"--use_weighting true: --loss_type {', '.join(by_quantile)} compares quantiles, and "
            "weights belong to pairs; leave one of them out."
        )
    _check_smoothing(config)
    _check_divergence(config)


def _check_smoothing(config: DpoConfig) -> None:
    smoothing = config.label_smoothing
    if smoothing is None:
        return
    if not 0 <= smoothing < 0.5:
        raise ConfigError(
            f"--label_smoothing {smoothing}: expected 0 up to, not including, 0.5 (at 0.5 labels "
            "say nothing)."
        )
    if smoothing == 0 and "exo_pair" in config.loss_type:
        raise ConfigError("--label_smoothing 0: exo_pair needs more than 0; 0.001 is usual.")
    plain = [kind for kind in config.loss_type if kind not in SMOOTHED]
    if smoothing > 0 and len(plain) == len(config.loss_type):
        raise ConfigError(
            f"--label_smoothing {smoothing}: {', '.join(plain)} has no label smoothing; it is "
            f"for {', '.join(SMOOTHED)}."
        )


def _check_divergence(config: DpoConfig) -> None:
    if config.f_divergence_type == "reverse_kl":
        return
    fixed = [kind for kind in config.loss_type if kind not in DIFFERENCES]
    if fixed:
        raise ConfigError(
            f"--f_divergence_type {config.f_divergence_type}: --loss_type {', '.join(fixed)} needs "
            f"reverse_kl; other divergences are for {', '.join(DIFFERENCES)}."
        )


ALGORITHM = Dpo
