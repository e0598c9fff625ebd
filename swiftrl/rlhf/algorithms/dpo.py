"""Direct preference optimisation and the losses of its family."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from swiftrl.core.config import setting
from swiftrl.core.errors import ConfigError
from swiftrl.rlhf.algorithm import Algorithm, LossInputs, LossOutput

if TYPE_CHECKING:
    from torch import Tensor

SMOOTHED = ("sigmoid", "robust", "exo_pair", "aot", "aot_unpaired")
COUPLED = ("aot", "aot_unpaired", "bco_pair")
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
    discopop_tau: float = setting(0.05, "Temperature of discopop.")


@dataclass(frozen=True, slots=True)
class _Pairs:
    """[B] values of the pairs of a batch."""

    chosen_logps: Tensor
    rejected_logps: Tensor
    chosen_logratio: Tensor
    rejected_logratio: Tensor
    chosen_length: Tensor
    rejected_length: Tensor
    chosen_nll: Tensor
    delta: float


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

    def loss(self, inputs: LossInputs) -> LossOutput:
        """Return the weighted sum of the losses asked for, counted in pairs."""
        pairs = self._pairs(inputs)
        loss_B = pairs.chosen_logps.new_zeros(len(pairs.chosen_logps))
        for kind, weight in zip(self.config.loss_type, self.weights, strict=True):
            loss_B = loss_B + weight * LOSSES[kind](pairs, self.config)
        if self.config.rpo_alpha is not None:
            loss_B = loss_B + self.config.rpo_alpha * pairs.chosen_nll
        return LossOutput(
            loss_B.sum(), float(len(pairs.chosen_logps)), _metrics(pairs, self.config.beta)
        )

    def state_dict(self) -> dict[str, Any]:
        """Return BCO's running mean as a sum and a count."""
        return {"reward_sum": self.reward_sum, "reward_count": self.reward_count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back the running mean."""
        self.reward_sum = float(state["reward_sum"])
        self.reward_count = int(state["reward_count"])

    def _pairs(self, inputs: LossInputs) -> _Pairs:
        from swiftrl.rlhf.offline import length_desensitised_weights

        weights_N = inputs.weights
        if self.config.ld_alpha is not None:
            weights_N = weights_N * length_desensitised_weights(
                inputs.sequence_index, inputs.num_sequences, alpha=self.config.ld_alpha
            )
        logps = inputs.per_sequence(weights_N * inputs.logps)
        ref = inputs.ref_logps if inputs.ref_logps is not None else inputs.logps.detach()
        logratio = logps - inputs.per_sequence(weights_N * ref)
        length = inputs.per_sequence((weights_N > 0).to(inputs.logps.dtype))
        full_length = inputs.per_sequence(inputs.weights)
        nll = -inputs.per_sequence(inputs.weights * inputs.logps) / full_length.clamp(min=1)
        return _Pairs(
            logps[::2], logps[1::2], logratio[::2], logratio[1::2],
            length[::2].clamp(min=1), length[1::2].clamp(min=1), nll[::2],
            self._shift(logratio, inputs.training),
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


def _pairwise(name: str) -> Callable[[_Pairs, DpoConfig], Tensor]:
    """Return the loss `name` of offline.py on sums of log-ratios."""

    def apply(pairs: _Pairs, config: DpoConfig) -> Tensor:
        from swiftrl.rlhf import offline

        function = getattr(offline, name)
        return function(pairs.chosen_logratio, pairs.rejected_logratio, beta=config.beta)

    return apply


def _smoothed(name: str, unset: float) -> Callable[[_Pairs, DpoConfig], Tensor]:
    """Return a loss that takes label smoothing; `unset` is its default."""

    def apply(pairs: _Pairs, config: DpoConfig) -> Tensor:
        from swiftrl.rlhf import offline

        smoothing = unset if config.label_smoothing is None else config.label_smoothing
        function = getattr(offline, name)
        return function(
            pairs.chosen_logratio,
            pairs.rejected_logratio,
            beta=config.beta,
            label_smoothing=smoothing,
        )

    return apply


def _mean(name: str) -> Callable[[_Pairs, DpoConfig], Tensor]:
    """Return a loss on means of log-ratios by token."""

    def apply(pairs: _Pairs, config: DpoConfig) -> Tensor:
        from swiftrl.rlhf import offline

        function = getattr(offline, name)
        return function(
            pairs.chosen_logratio / pairs.chosen_length,
            pairs.rejected_logratio / pairs.rejected_length,
            beta=config.beta,
        )

    return apply


def _bco(pairs: _Pairs, config: DpoConfig) -> Tensor:
    from swiftrl.rlhf.offline import bco_pair_loss

    return bco_pair_loss(
        pairs.chosen_logratio, pairs.rejected_logratio, beta=config.beta, delta=pairs.delta
    )


def _discopop(pairs: _Pairs, config: DpoConfig) -> Tensor:
    from swiftrl.rlhf.offline import discopop_loss

    return discopop_loss(
        pairs.chosen_logratio,
        pairs.rejected_logratio,
        beta=config.beta,
        tau=config.discopop_tau,
    )


def _aot(pairs: _Pairs, config: DpoConfig) -> Tensor:
    from swiftrl.rlhf.offline import aot_loss

    policy = pairs.chosen_logps - pairs.rejected_logps
    reference = policy - (pairs.chosen_logratio - pairs.rejected_logratio)
    return aot_loss(
        policy,
        reference.detach(),
        beta=config.beta,
        label_smoothing=config.label_smoothing or 0.0,
    )


LOSSES: dict[str, Callable[[_Pairs, DpoConfig], Tensor]] = {
    "sigmoid": _smoothed("dpo_loss", 0.0),
    "robust": _smoothed("robust_dpo_loss", 0.0),
    "exo_pair": _smoothed("exo_pair_loss", 1e-3),
    "aot_unpaired": _smoothed("aot_unpaired_loss", 0.0),
    "aot": _aot,
    "hinge": _pairwise("hinge_loss"),
    "nca_pair": _pairwise("nca_pair_loss"),
    "sppo_hard": _pairwise("sppo_hard_loss"),
    "apo_zero": _pairwise("apo_zero_loss"),
    "apo_down": _pairwise("apo_down_loss"),
    "ipo": _mean("ipo_loss"),
    "sigmoid_norm": _mean("sigmoid_norm_loss"),
    "bco_pair": _bco,
    "discopop": _discopop,
    "sft": lambda pairs, config: pairs.chosen_nll,
}


def _metrics(pairs: _Pairs, beta: float) -> dict[str, tuple[Tensor | float, Tensor | float]]:
    """Return implicit rewards and the like; a tie counts half towards accuracy."""
    count = float(len(pairs.chosen_logps))
    chosen = beta * pairs.chosen_logratio.detach()
    rejected = beta * pairs.rejected_logratio.detach()
    won = (chosen > rejected).float() + 0.5 * (chosen == rejected).float()
    return {
        "rewards/accuracies": (won.sum(), count),
        "rewards/margins": ((chosen - rejected).sum(), count),
        "rewards/chosen": (chosen.sum(), count),
        "rewards/rejected": (rejected.sum(), count),
        "logps/chosen": (pairs.chosen_logps.detach().sum(), count),
        "logps/rejected": (pairs.rejected_logps.detach().sum(), count),
        "nll_loss": (pairs.chosen_nll.detach().sum(), count),
    }


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
    _check_smoothing(config)


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


ALGORITHM = Dpo
