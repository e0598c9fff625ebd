"""Scores of conversations, or of the steps of replies, by a reward model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch

from swiftrl.core.messages import Conversation

__all__ = ["ProcessRewardModel", "RewardModel"]


class Renders(Protocol):
    """Turns a conversation into tokens."""

    def encode(self, conversation: Conversation, *, train: Any = ...) -> Any:
        """Return the conversation's tokens as `token_ids`."""
        ...

    def encode_steps(self, conversation: Conversation, steps: Sequence[str]) -> Any:
        """Return the tokens of a reply in steps; a weight marks the last token of each."""
        ...


class RewardModel:
    """A model of transformers with a head of scores, and the template its inputs are written in.

    Args:
        model: for sequence classification, on its device.
        template: of the model.
        max_batch_size: conversations of a forward pass.
    """

    def __init__(self, model: Any, template: Renders, *, max_batch_size: int = 8) -> None:
        self.model, self.template, self.max_batch_size = model, template, max_batch_size
        text = model.config.get_text_config(decoder=True)
        self.max_length: int | None = getattr(text, "max_position_embeddings", None)

    @torch.no_grad()
    def __call__(self, conversations: Sequence[Conversation]) -> list[list[float] | None]:
        """Return the K scores of each conversation, None where it has too many tokens.

        Raises:
            TemplateError: the template refuses a conversation.
        """
        rows = [self.template.encode(one, train="last_round").token_ids for one in conversations]
        found = self._read(rows, [[len(row) - 1] for row in rows])
        return [None if scores is None else scores[0].tolist() for scores in found]

    def _read(
        self, rows: Sequence[Any], places: Sequence[Sequence[int]]
    ) -> list[torch.Tensor | None]:
        """Return [places, K] scores at some tokens of each row, None where it is too long."""
        limit = self.max_length
        order = [i for i, row in enumerate(rows) if limit is None or len(row) <= limit]
        order.sort(key=lambda index: len(rows[index]))  # little padding
        found: list[torch.Tensor | None] = [None] * len(rows)
        for first in range(0, len(order), self.max_batch_size):
            chosen = order[first : first + self.max_batch_size]
            hidden = self._hidden([rows[i] for i in chosen])
            for states, index in zip(hidden, chosen, strict=True):
                found[index] = self._head(states[list(places[index])].float())
        return found

    def _hidden(self, rows: Sequence[Any]) -> torch.Tensor:
        width = max(map(len, rows))
        ids = torch.zeros(len(rows), width, dtype=torch.int64)
        mask = torch.zeros_like(ids)
        for number, row in enumerate(rows):
            ids[number, : len(row)] = torch.as_tensor(row, dtype=torch.int64)
            mask[number, : len(row)] = 1
        device = self.model.device
        return self._backbone(ids.to(device), mask.to(device))

    def _backbone(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        from swiftrl.models.backbone import backbone_of

        base = self._base
        return backbone_of(base)(input_ids=ids, attention_mask=mask, use_cache=False)

    @property
    def _base(self) -> Any:
        get = getattr(self.model, "get_base_model", None)
        return self.model if get is None else get()

    @property
    def _head(self) -> Any:
        from swiftrl.models.heads import score_head

        return score_head(self._base)


class ProcessRewardModel(RewardModel):
    """A model of transformers for token classification that says of steps whether they are right.

    Args:
        model, template, max_batch_size: as of a reward model; two labels, wrong and right.
        separator: what stood behind every step in training.
    """

    def __init__(
        self, model: Any, template: Renders, *, separator: str, max_batch_size: int = 8
    ) -> None:
        super().__init__(model, template, max_batch_size=max_batch_size)
        self.separator = separator

    @torch.no_grad()
    def steps(
        self, replies: Sequence[tuple[Conversation, Sequence[str]]]
    ) -> list[list[float] | None]:
        """Return the probability that each step is right, None where a reply is too long.

        Args:
            replies: the messages before each, and its steps.

        Raises:
            TemplateError: the template refuses a conversation.
        """
        encoded = [
            self.template.encode_steps(before, [step + self.separator for step in steps])
            for before, steps in replies
        ]
        places = [one.loss_weights.nonzero()[0].tolist() for one in encoded]
        found = self._read([one.token_ids for one in encoded], places)
        return [None if scores is None else scores.softmax(1)[:, 1].tolist() for scores in found]
