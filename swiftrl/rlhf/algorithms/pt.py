"""Continued pre-training on plain text."""

from __future__ import annotations

from dataclasses import dataclass

from swiftrl.rlhf.algorithm import Algorithm, LossInputs, LossOutput
from swiftrl.rlhf.algorithms.sft import likelihood_loss

__all__ = ["ALGORITHM", "Pt", "PtConfig"]


@dataclass(frozen=True)
class PtConfig:
    """Continued pre-training (no settings of its own)."""


class Pt(Algorithm[PtConfig]):
    """Every token of the text trains."""

    name = "pt"
    summary = "Continued pre-training: every token trains."
    Config = PtConfig
    row_kind = "text"
    loss_scale = "all"
    command = "pt"

    def loss(self, inputs: LossInputs) -> LossOutput:
        """Return the negative log-likelihood of all tokens."""
        return likelihood_loss(inputs)


ALGORITHM = Pt
