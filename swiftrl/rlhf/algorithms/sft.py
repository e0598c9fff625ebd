"""Supervised fine-tuning on replies."""

from __future__ import annotations

from dataclasses import dataclass

from swiftrl.core.config import setting
from swiftrl.rlhf.algorithm import Algorithm, LossInputs, LossOutput

__all__ = ["ALGORITHM", "Sft", "SftConfig", "likelihood_loss"]


@dataclass(frozen=True)
class SftConfig:
    """Supervised fine-tuning."""

    enable_dft_loss: bool = setting(
        False, "Weight each token by its own probability (DFT, arXiv:2508.05629)."
    )


def likelihood_loss(inputs: LossInputs, *, dft: bool = False) -> LossOutput:
    """Return the weighted negative log-likelihood, counted in tokens.

    Tokens with `loss_scale` w count w times in the sum and once in the count, so that the scale
    acts on the gradient as written.
    """
    from swiftrl.rlhf.offline import dft_loss

    nll = -inputs.logps.detach()
    count = float(len(inputs.logps))
    loss = dft_loss(inputs.logps) if dft else -inputs.logps
    return LossOutput(
        (inputs.weights * loss).sum(),
        count,
        {"nll_loss": (nll.sum(), count), "tokens_per_row": (count, float(inputs.num_sequences))},
    )


class Sft(Algorithm[SftConfig]):
    """The assistant's turns become likelier."""

    name = "sft"
    summary = "Supervised fine-tuning on the assistant's turns."
    Config = SftConfig
    row_kind = "instruction"
    loss_scale = "default"
    command = "sft"

    def loss(self, inputs: LossInputs) -> LossOutput:
        """Return the negative log-likelihood of the trained tokens."""
        return likelihood_loss(inputs, dft=self.config.enable_dft_loss)


ALGORITHM = Sft
