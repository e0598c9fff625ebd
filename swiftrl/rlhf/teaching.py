"""A teacher: a frozen model whose next-token distributions a student comes close to.

Shapes: N trained tokens, D width of the student, D' of the teacher.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from swiftrl.data.batch import TreeBatch
from swiftrl.rlhf.divergence import Distance, linear_distances, module_distances
from swiftrl.rlhf.logprobs import LinearHead
from swiftrl.rlhf.scoring import Read, Scorer

__all__ = ["WRITTEN", "Teacher"]

WRITTEN = "written"
"""A token's value: 1 where a model wrote it, not the data."""


class Teacher:
    """A frozen model and how a student is held against it.

    Args:
        scorer: runs it, in the student's layout and at its temperature.
        distance: what is measured between the two.
        vocabulary: how many tokens both know, the first of each one's logits.
    """

    def __init__(self, scorer: Scorer, distance: Distance, vocabulary: int) -> None:
        scorer.model.requires_grad_(False).eval()
        self.scorer, self.distance, self.vocabulary = scorer, distance, vocabulary

    def distances(self, student: Scorer, batch: TreeBatch) -> tuple[Tensor, Tensor]:
        """Return what a student has still to learn at each trained token.

        Args:
            student: has a gradient.
            batch: may hold the token value "written".

        Returns:
            [N] distance plus the weighted -log Q of the data's tokens, with gradient; [N] log Q,
            without. Nats, float32.
        """

        def read(of: TreeBatch) -> Read:
            with torch.no_grad():
                states = self.scorer.states(of)
            return lambda hidden, index: self._read(student, hidden, of, index, states[index])

        values, logps = student.run(batch, read)
        assert logps is not None
        return values, logps

    def _read(
        self, student: Scorer, hidden: Tensor, batch: TreeBatch, index: Tensor, states: Tensor
    ) -> tuple[Tensor, Tensor]:
        head = student.head
        place = next(head.parameters()).device
        own = (
            student.before_head(hidden.to(place)),
            batch.target_ids[index].to(place),
            self._likelihood(batch)[index].to(place),
        )
        taught = (states.to(place), self._head(place), self.distance)
        if type(head) is nn.Linear and not head.weight.requires_grad:
            frozen = student.linear_head(self.vocabulary)
            values, logps = linear_distances(*own, frozen, *taught)
        else:
            # Gathered weights are held by what reads them again in the backward pass.
            plain = type(head) is nn.Linear
            given = partial(linear, weight=head.weight, bias=head.bias) if plain else head
            values, logps = module_distances(*own, given, student.terms, *taught)
        return values.to(index.device), logps.to(index.device)

    def _head(self, place: torch.device) -> LinearHead:
        head = self.scorer.linear_head(self.vocabulary)
        bias = None if head.bias is None else head.bias.to(place)
        return replace(head, weight=head.weight.to(place), bias=bias)

    def _likelihood(self, batch: TreeBatch) -> Tensor:
        share = torch.full_like(batch.weights, self.distance.likelihood)
        written = batch.token_values.get(WRITTEN)
        return share if written is None else share * (1 - written)
