"""A prompt with its scored replies, as trees to train on and as lines to read.

Shapes: G replies to a prompt, F rewards, R tokens of a reply.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from swiftrl.core.messages import text_of
from swiftrl.data.batch import Tree, make_tree, pack
from swiftrl.engine.base import Completion
from swiftrl.rlhf.advantages import zero_spread
from swiftrl.rlhf.order import MicroBatch
from swiftrl.rlhf.prompts import EncodedPrompt
from swiftrl.templates.encoding import Encoded

__all__ = ["Answered", "Group", "batches_of", "lines_of"]


@dataclass(frozen=True, slots=True)
class Answered:
    """A prompt and its replies.

    Attributes:
        prompt: what was answered.
        media: tensors of its pictures.
        completions: G replies.
        values: [G, F] rewards; not a number where a reply could not be scored.
        total: [G] their weighted sum.
    """

    prompt: EncodedPrompt
    media: Mapping[str, Any]
    completions: list[Completion]
    values: Tensor
    total: Tensor

    @property
    def teaches(self) -> bool:
        """Whether its replies did not all score alike."""
        return not bool(zero_spread(self.total, torch.zeros(len(self.total), dtype=torch.int64))[0])


@dataclass(frozen=True, slots=True)
class Group:
    """A prompt's replies and the advantage of each."""

    answered: Answered
    advantages: list[float]

    @property
    def origin(self) -> str:
        """File and line of the prompt."""
        return str(self.answered.prompt.row.origin)


def batches_of(
    groups: Sequence[Group], first: int, micro_batch_size: int, *, drop_cut: bool
) -> list[MicroBatch]:
    """Fold groups into micro-batches: several of them, or a part of one.

    Args:
        groups: of equal size.
        first: place of the first prompt in the stream.
        micro_batch_size: most replies of a forward pass.
        drop_cut: leave replies out of the loss that were cut off.
    """
    size = len(groups[0].advantages) if groups else 1
    parts = [
        (group, range(start, min(start + micro_batch_size, size)), first + index)
        for index, group in enumerate(groups)
        for start in range(0, size, micro_batch_size)
    ]
    together = max(micro_batch_size // size, 1)
    return [
        MicroBatch(
            pack([_tree(group, chosen, drop_cut) for group, chosen, _ in some]),
            some[0][2] * size + some[0][1].start,
            tuple(group.origin for group, chosen, _ in some if not chosen.start),
        )
        for some in (parts[at : at + together] for at in range(0, len(parts), together))
    ]


def _tree(group: Group, chosen: range, drop_cut: bool) -> Tree:
    prompt = group.answered.prompt.token_ids
    sequences, engine_logps = [], []
    for index in chosen:
        reply = group.answered.completions[index]
        cut = reply.finish_reason == "length" and drop_cut
        weights = np.zeros(len(prompt) + len(reply.token_ids), dtype=np.float32)
        weights[len(prompt) :] = not cut
        ids = np.array([*prompt, *reply.token_ids], dtype=np.int32)
        sequences.append(Encoded(ids, weights))
        engine_logps.append(np.array([0.0] * len(prompt) + list(reply.logprobs), np.float32))
    return make_tree(
        sequences,
        media=group.answered.media,
        sequence_values={"advantages": [group.advantages[index] for index in chosen]},
        token_values={"engine_logps": engine_logps},
    )


def lines_of(group: Group, names: Sequence[str], start: int) -> Iterator[dict[str, Any]]:
    """Yield a line of completions.jsonl for each reply.

    Args:
        group: the replies.
        names: of the rewards.
        start: prompts consumed before the step.
    """
    answered = group.answered
    for reply, advantage, values, total in zip(
        answered.completions,
        group.advantages,
        answered.values.tolist(),
        answered.total.tolist(),
        strict=True,
    ):
        yield {
            "prompts_before": start,
            "origin": group.origin,
            "prompt": text_of(answered.prompt.row.conversation.messages[-1]),
            "completion": reply.text,
            "finish_reason": reply.finish_reason,
            "tokens": len(reply.token_ids),
            "rewards": {name: _or_none(value) for name, value in zip(names, values, strict=True)},
            "reward": _or_none(total),
            "advantage": advantage,
        }


def _or_none(value: float) -> float | None:
    return None if value != value else value
