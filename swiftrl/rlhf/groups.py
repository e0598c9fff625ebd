"""A prompt with its scored replies, as trees to train on and as lines to read.

Shapes: G replies to a prompt, F rewards, R tokens of a reply.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
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

PASS = 2**40
"""More replies than any run has, so that no two passes over them drop alike."""


@dataclass(frozen=True, slots=True)
class Answered:
    """A prompt and its replies.

    Attributes:
        index: of the prompt in the data.
        number: with the seed it decides the replies.
        prompt: what was answered.
        media: tensors of its pictures.
        completions: G replies.
        values: [G, F] rewards; not a number where a reply could not be scored.
        total: [G] their weighted sum.
    """

    index: int
    number: int
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
    """A prompt's replies as they are trained on.

    Attributes:
        position: of the prompt in the stream of prompts.
        index: of the prompt in the data.
        prompt: what was answered.
        media: tensors of its pictures.
        replies: G arrays [R] int32 of tokens.
        cut: of each, whether it was cut off.
        sequence_values: G numbers by name.
        token_values: G arrays [R] float32 by name.
    """

    position: int
    index: int
    prompt: EncodedPrompt
    media: Mapping[str, Any]
    replies: tuple[np.ndarray, ...]
    cut: tuple[bool, ...]
    sequence_values: Mapping[str, Sequence[float]] = field(default_factory=dict)
    token_values: Mapping[str, Sequence[np.ndarray]] = field(default_factory=dict)

    @classmethod
    def of(cls, answered: Answered, position: int) -> Group:
        """Return the group of an answered prompt, with what the engine said of its tokens."""
        replies = answered.completions
        logps = [np.asarray(reply.logprobs, np.float32) for reply in replies]
        return cls(
            position,
            answered.index,
            answered.prompt,
            answered.media,
            tuple(np.asarray(reply.token_ids, np.int32) for reply in replies),
            tuple(reply.finish_reason == "length" for reply in replies),
            token_values={"engine_logps": logps},
        )

    @property
    def origin(self) -> str:
        """File and line of the prompt."""
        return str(self.prompt.row.origin)


def batches_of(
    groups: Sequence[Group], micro_batch_size: int, *, drop_cut: bool, iteration: int = 0
) -> list[MicroBatch]:
    """Fold groups into micro-batches: several of them, or a part of one.

    Args:
        groups: of equal size.
        micro_batch_size: most replies of a forward pass.
        drop_cut: leave replies out of the loss that were cut off.
        iteration: pass over the replies; with their place it decides dropout.
    """
    size = len(groups[0].replies) if groups else 1
    parts = [
        (group, range(start, min(start + micro_batch_size, size)))
        for group in groups
        for start in range(0, size, micro_batch_size)
    ]
    together = max(micro_batch_size // size, 1)
    return [
        MicroBatch(
            pack([_tree(group, chosen, drop_cut) for group, chosen in some]),
            some[0][0].position * size + some[0][1].start + iteration * PASS,
            tuple(group.origin for group, chosen in some if not chosen.start),
        )
        for some in (parts[at : at + together] for at in range(0, len(parts), together))
    ]


def _tree(group: Group, chosen: range, drop_cut: bool) -> Tree:
    prompt = np.asarray(group.prompt.token_ids, np.int32)
    sequences = []
    for index in chosen:
        reply = group.replies[index]
        weights = np.zeros(len(prompt) + len(reply), dtype=np.float32)
        weights[len(prompt) :] = not (group.cut[index] and drop_cut)
        sequences.append(Encoded(np.concatenate([prompt, reply]), weights))
    before = np.zeros(len(prompt), np.float32)
    return make_tree(
        sequences,
        media=group.media,
        sequence_values={
            name: [values[index] for index in chosen]
            for name, values in group.sequence_values.items()
        },
        token_values={
            name: [np.concatenate([before, values[index]]) for index in chosen]
            for name, values in group.token_values.items()
        },
    )


def lines_of(
    answered: Answered, advantages: Sequence[float], names: Sequence[str], start: int
) -> Iterator[dict[str, Any]]:
    """Yield a line of completions.jsonl for each reply.

    Args:
        answered: the replies.
        advantages: of each.
        names: of the rewards.
        start: prompts consumed before the step.
    """
    for reply, advantage, values, total in zip(
        answered.completions,
        advantages,
        answered.values.tolist(),
        answered.total.tolist(),
        strict=True,
    ):
        yield {
            "prompts_before": start,
            "origin": str(answered.prompt.row.origin),
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
