"""Losses of reward models: pure functions of scores.

Each result is one loss a pair, reply or step, before any mean.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import logsigmoid

__all__ = ["bradley_terry_loss", "centring_loss", "regression_loss", "step_loss"]


def bradley_terry_loss(
    chosen_B: Tensor, rejected_B: Tensor, *, margin_B: Tensor | float = 0.0
) -> Tensor:
    """Bradley-Terry ranking loss with a margin, Touvron et al. 2023 (arXiv:2307.09288), eq. 2.

    Without a margin it is that of Ouyang et al. 2022 (arXiv:2203.02155), eq. 1. What some call the
    log-exp loss, log(1 + exp(rejected - chosen)), is the same function.

    Args:
        chosen_B: [B] scores of the chosen replies.
        rejected_B: [B] scores of the rejected ones.
        margin_B: [B] by how much the chosen must win.
    """
    return -logsigmoid(chosen_B - rejected_B - margin_B)


def centring_loss(chosen_B: Tensor, rejected_B: Tensor) -> Tensor:
    """Square of a pair's summed scores, Eisenstein et al. 2023 (arXiv:2312.09244), eq. 2.

    Only differences of scores enter the ranking loss; this holds their mean at 0.
    """
    return (chosen_B + rejected_B) ** 2


def regression_loss(scores_BK: Tensor, targets_BK: Tensor) -> Tensor:
    """Squared errors, averaged over the objectives a reply has (arXiv:2311.09528, section 3.2).

    Args:
        scores_BK: [B, K] a score of each objective.
        targets_BK: [B, K] what it should be; not a number where a reply has none.

    Returns:
        [B]; 0 for a reply without any.
    """
    known_BK = ~targets_BK.isnan()
    error_BK = (scores_BK - targets_BK.nan_to_num()) * known_BK
    return error_BK.square().sum(1) / known_BK.sum(1).clamp(min=1)


def step_loss(scores_N2: Tensor, labels_N: Tensor) -> Tensor:
    """Cross entropy of a step's label, Lightman et al. 2023 (arXiv:2305.20050), appendix F.

    Args:
        scores_N2: [N, 2] logits that a step is wrong, and that it is right.
        labels_N: [N] from 0 (wrong) to 1 (right); between them (Monte-Carlo estimates,
            arXiv:2312.08935) the entropy is that of the two labels so weighted.

    Returns:
        [N], nats.
    """
    logit_N = scores_N2[:, 1] - scores_N2[:, 0]
    return -labels_N * logsigmoid(logit_N) - (1 - labels_N) * logsigmoid(-logit_N)
