"""Losses of reward models: pure functions of the scores of replies.

Each result is [B], one loss a pair, before any mean.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import logsigmoid

__all__ = ["bradley_terry_loss", "centring_loss"]


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
