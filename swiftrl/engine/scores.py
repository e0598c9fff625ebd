"""Scores of conversations by a reward model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch

from swiftrl.core.messages import Conversation

__all__ = ["RewardModel"]


class Renders(Protocol):
    """Turns a conversation into tokens."""

    def encode(self, conversation: Conversation, *, train: Any = ...) -> Any:
        """Return the conversation's tokens as `token_ids`."""
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
        limit = self.max_length
        order = [i for i, row in enumerate(rows) if limit is None or len(row) <= limit]
        order.sort(key=lambda index: len(rows[index]))  # little padding
        found: list[list[float] | None] = [None] * len(rows)
        for first in range(0, len(order), self.max_batch_size):
            chosen = order[first : first + self.max_batch_size]
            for index, scores in zip(chosen, self._scores([rows[i] for i in chosen]), strict=True):
                found[index] = scores
        return found

    def _scores(self, rows: Sequence[Any]) -> list[list[float]]:
        width = max(map(len, rows))
        ids = torch.zeros(len(rows), width, dtype=torch.int64)
        mask = torch.zeros_like(ids)
        for number, row in enumerate(rows):
            ids[number, : len(row)] = torch.as_tensor(row, dtype=torch.int64)
            mask[number, : len(row)] = 1
        device = self.model.device
        hidden = self._backbone(ids.to(device), mask.to(device))
        last = hidden[torch.arange(len(rows)), mask.sum(1).to(device) - 1]
        return self._head(last.float()).tolist()

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
