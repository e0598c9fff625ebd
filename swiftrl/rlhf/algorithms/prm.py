"""Process reward models from replies whose steps are labelled."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from swiftrl.core.config import setting
from swiftrl.core.errors import DataError
from swiftrl.rlhf.algorithm import Algorithm, LossInputs, LossOutput

if TYPE_CHECKING:
    import numpy as np

__all__ = ["ALGORITHM", "Prm", "PrmConfig"]


@dataclass(frozen=True)
class PrmConfig:
    """Process reward model."""

    step_separator: str = setting(
        "\n", "Stands behind every step; a step is scored at the last token of the two."
    )
    train_on_last_step_only: bool = setting(
        False, "Learn the last step's label alone: an outcome reward model (arXiv:2211.14275)."
    )


class Prm(Algorithm[PrmConfig]):
    """A head of two scores says behind every step whether it is right."""

    name = "prm"
    summary = "Process reward model: says of every step of a reply whether it is right."
    paper = "arXiv:2211.14275"
    Config = PrmConfig
    row_kind = "stepwise"
    loss_scale = "last_round"
    num_scores = 2
    scores_tokens = True

    def __init__(self, config: PrmConfig) -> None:
        super().__init__(config)
        self.step_separator = config.step_separator

    def check_columns(
        self, columns: Mapping[str, np.ndarray], origin: Callable[[int], str]
    ) -> None:
        """Refuse rows whose steps all have the same label.

        Raises:
            DataError: they have.
        """
        labels = columns["label"]
        for value, name in ((1.0, "right"), (0.0, "wrong")):
            if (labels == value).all():
                raise DataError(
                    f"every step of all {len(labels)} training rows is labelled {name}; "
                    "--rlhf_type prm needs right and wrong steps. Right ones alone are learnt by "
                    "`swiftrl sft`."
                )

    def loss(self, inputs: LossInputs) -> LossOutput:
        """Return the cross entropies, counted in steps."""
        from swiftrl.rlhf.reward_losses import step_loss

        assert inputs.scores is not None
        scores_N2, labels_N = inputs.scores, inputs.token_values["label"]
        counts_N = inputs.weights
        if self.config.train_on_last_step_only:
            counts_N = counts_N * _last(inputs)
        loss_N = step_loss(scores_N2, labels_N) * counts_N
        count = float(counts_N.sum())
        right_N = (scores_N2.detach().diff(dim=1)[:, 0] > 0) == (labels_N > 0.5)
        probability_N = scores_N2.detach().softmax(1)[:, 1]
        good_N = (labels_N > 0.5).float()
        metrics = {
            "accuracy": ((right_N.float() * counts_N).sum(), count),
            "probability/right": ((probability_N * good_N).sum(), good_N.sum()),
            "probability/wrong": ((probability_N * (1 - good_N)).sum(), (1 - good_N).sum()),
        }
        return LossOutput(loss_N.sum(), count, metrics)


def _last(inputs: LossInputs):
    """Return [N] 1 at each sequence's last token, 0 elsewhere."""
    from torch import ones_like

    last_N = ones_like(inputs.weights)
    last_N[:-1] = (inputs.sequence_index.diff() > 0).float()
    return last_N


ALGORITHM = Prm
