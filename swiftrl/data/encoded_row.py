"""A row as batches take it: its sequences' tokens, numbers and pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from swiftrl.core.messages import Part
from swiftrl.data.rows import NOWHERE, Origin
from swiftrl.templates.encoding import Encoded

__all__ = ["EncodedRow"]


@dataclass(frozen=True, slots=True)
class EncodedRow:
    """What a batch takes of a row.

    Attributes:
        sequences: two (chosen, rejected) for a pair, else one.
        columns: numbers that losses use: "margin" of a pair (not a number where the row has
            none), "label" (1 or 0) of a labelled reply.
        origin: file and line.
        step_labels: of the tokens that train, in order, where the row is one of steps; else empty.
        tensors: of the row's pictures, read when the row is picked; never stored.
    """

    sequences: tuple[Encoded, ...]
    columns: dict[str, float] = field(default_factory=dict)
    origin: Origin = NOWHERE
    step_labels: tuple[float, ...] = ()
    tensors: Mapping[str, Any] = field(default_factory=dict)

    @property
    def media(self) -> tuple[Part, ...]:
        """Pictures of the row; all its sequences show the same ones."""
        return self.sequences[0].media if self.sequences else ()

    @property
    def token_values(self) -> dict[str, list[np.ndarray]] | None:
        """Numbers of the tokens by name, a [L] array of each sequence; None for most rows."""
        if not self.step_labels:
            return None
        label = np.zeros(len(self.sequences[0]), dtype=np.float32)
        label[np.flatnonzero(self.sequences[0].loss_weights)] = self.step_labels
        return {"label": [label]}

    @property
    def num_tokens(self) -> int:
        """Tokens that run through the model.

        What the sequences share before their first trained token counts once.
        """
        total = sum(map(len, self.sequences))
        if len(self.sequences) < 2:
            return total
        limit = min(min(item.first_trained, len(item)) for item in self.sequences)
        first = self.sequences[0].token_ids[:limit]
        for other in self.sequences[1:]:
            differ = np.flatnonzero(first != other.token_ids[: len(first)])
            first = first[: differ[0]] if len(differ) else first
        return total - len(first) * (len(self.sequences) - 1)
