"""How much each pair counts: pure functions of log-probabilities."""

from __future__ import annotations

from torch import Tensor

from swiftrl.rlhf.algorithm import LossInputs

__all__ = ["wpo_weights"]


def wpo_weights(inputs: LossInputs) -> Tensor:
    """Weights of WPO, Zhou et al. 2024 (arXiv:2406.11827), eq. 2 with sampled alignment (eq. 4).

    A reply's weight is exp of the mean over its tokens of log pi(token) - log sum_v pi(v)^2: how
    likely the present policy would write it, against how likely it writes anything. A pair's is
    the product of both. Off-policy pairs so count less.

    Args:
        inputs: of pairs, with "collision" among its token values.

    Returns:
        [pairs] weights without gradient.
    """
    surplus_N = inputs.logps.detach() - inputs.token_values["collision"]
    total_B = inputs.per_sequence(inputs.weights * surplus_N)
    mean_B = total_B / inputs.per_sequence(inputs.weights).clamp(min=1)
    return (mean_B[::2] + mean_B[1::2]).exp()
