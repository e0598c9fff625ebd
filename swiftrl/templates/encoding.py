"""What a template makes of a conversation: token ids and how much each one trains."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from swiftrl.core.messages import Part

__all__ = ["Encoded", "encoded_as"]


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """One token sequence.

    Attributes:
        token_ids: [T] int32.
        loss_weights: [T] float32, the weight of each token as a target; 0 is not trained.
        truncated: tokens were cut off.
        skipped_turns: assistant turns that were to train but do not, because the template shows
            them in another form than the model would produce (earlier thoughts removed);
            `Template.encode_rounds` trains them too.
        media: pictures whose tokens stand in the sequence, in order; never decoded here.
    """

    token_ids: np.ndarray
    loss_weights: np.ndarray
    truncated: bool = False
    skipped_turns: int = 0
    media: tuple[Part, ...] = ()

    def __post_init__(self) -> None:
        if self.token_ids.shape != self.loss_weights.shape or self.token_ids.ndim != 1:
            raise ValueError(
                f"token_ids {self.token_ids.shape} and loss_weights {self.loss_weights.shape} "
                "must both be [T]"
            )

    def __len__(self) -> int:
        return len(self.token_ids)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Encoded):
            return NotImplemented
        return (
            np.array_equal(self.token_ids, other.token_ids)
            and np.array_equal(self.loss_weights, other.loss_weights)
            and self.truncated == other.truncated
            and self.skipped_turns == other.skipped_turns
            and self.media == other.media
        )

    __hash__ = None  # type: ignore[assignment]

    @property
    def num_trained(self) -> int:
        """Number of tokens with a weight above 0."""
        return int(np.count_nonzero(self.loss_weights))

    @property
    def first_trained(self) -> int:
        """Index of the first trained token, or the length when none trains."""
        trained = np.flatnonzero(self.loss_weights)
        return int(trained[0]) if len(trained) else len(self.token_ids)


def encoded_as(ids: list[int], weights: list[float], skipped: int = 0) -> Encoded:
    """Return a sequence of tokens with their weights, the first of which cannot train."""
    token_ids, loss_weights = np.array(ids, np.int32), np.array(weights, np.float32)
    loss_weights[:1] = 0  # nothing precedes the first token that could predict it
    return Encoded(token_ids, loss_weights, skipped_turns=skipped)
