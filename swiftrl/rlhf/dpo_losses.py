"""The losses of DPO's family by name, on a batch's pairs; the formulas are in `offline.py`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from swiftrl.rlhf import offline

__all__ = ["LOSSES", "DpoPairs", "DpoSettings", "dpo_metrics"]


class DpoSettings(Protocol):
    """What the losses read of DPO's settings."""

    @property
    def beta(self) -> float:
        """Scale of the implicit reward."""
        ...

    @property
    def label_smoothing(self) -> float | None:
        """Probability that a label is wrong; None for the loss's default."""
        ...

    @property
    def discopop_tau(self) -> float:
        """Temperature of discopop."""
        ...


@dataclass(frozen=True, slots=True)
class DpoPairs:
    """[B] values of the pairs of a batch."""

    chosen_logps: Tensor
    rejected_logps: Tensor
    chosen_logratio: Tensor
    rejected_logratio: Tensor
    chosen_length: Tensor
    rejected_length: Tensor
    chosen_nll: Tensor
    delta: float


def _pairwise(name: str) -> Callable[[DpoPairs, DpoSettings], Tensor]:
    """Return the loss `name` of offline.py on sums of log-ratios."""

    def apply(pairs: DpoPairs, config: DpoSettings) -> Tensor:
        function = getattr(offline, name)
        return function(pairs.chosen_logratio, pairs.rejected_logratio, beta=config.beta)

    return apply


def _smoothed(name: str, unset: float) -> Callable[[DpoPairs, DpoSettings], Tensor]:
    """Return a loss that takes label smoothing; `unset` is its default."""

    def apply(pairs: DpoPairs, config: DpoSettings) -> Tensor:
        smoothing = unset if config.label_smoothing is None else config.label_smoothing
        function = getattr(offline, name)
        return function(
            pairs.chosen_logratio,
            pairs.rejected_logratio,
            beta=config.beta,
            label_smoothing=smoothing,
        )

    return apply


def _mean(name: str) -> Callable[[DpoPairs, DpoSettings], Tensor]:
    """Return a loss on means of log-ratios by token."""

    def apply(pairs: DpoPairs, config: DpoSettings) -> Tensor:
        function = getattr(offline, name)
        return function(
            pairs.chosen_logratio / pairs.chosen_length,
            pairs.rejected_logratio / pairs.rejected_length,
            beta=config.beta,
        )

    return apply


def _bco(pairs: DpoPairs, config: DpoSettings) -> Tensor:
    return offline.bco_pair_loss(
        pairs.chosen_logratio, pairs.rejected_logratio, beta=config.beta, delta=pairs.delta
    )


def _discopop(pairs: DpoPairs, config: DpoSettings) -> Tensor:
    return offline.discopop_loss(
        pairs.chosen_logratio,
        pairs.rejected_logratio,
        beta=config.beta,
        tau=config.discopop_tau,
    )


def _aot(pairs: DpoPairs, config: DpoSettings) -> Tensor:
    policy = pairs.chosen_logps - pairs.rejected_logps
    reference = policy - (pairs.chosen_logratio - pairs.rejected_logratio)
    return offline.aot_loss(
        policy,
        reference.detach(),
        beta=config.beta,
        label_smoothing=config.label_smoothing or 0.0,
    )


LOSSES: dict[str, Callable[[DpoPairs, DpoSettings], Tensor]] = {
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


def dpo_metrics(pairs: DpoPairs, beta: float) -> dict[str, tuple[Tensor | float, Tensor | float]]:
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
