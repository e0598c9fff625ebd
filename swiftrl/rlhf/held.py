"""A rollout that is still trained on, as tensors of a checkpoint.

Shapes: P prompts, B replies, S tokens of replies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from swiftrl.core.errors import ConfigError
from swiftrl.rlhf.groups import Group
from swiftrl.rlhf.prompts import Prompts
from swiftrl.rlhf.reuse import Update

__all__ = ["Block", "from_tensors", "to_tensors"]

SEQUENCE, TOKEN = "sequence/", "token/"


@dataclass
class Block:
    """The rollout at hand.

    Attributes:
        first: prompts answered before it.
        prompts: how many it answers, over all processes.
        groups: this process's.
        updates: its optimizer steps.
        done: how many of them the trainer has taken.
    """

    first: int
    prompts: int
    groups: list[Group]
    updates: list[Update]
    done: int = 0

    @property
    def left(self) -> list[Update]:
        """The optimizer steps still to come."""
        return self.updates[self.done :]

    def groups_of(self, update: Update) -> list[Group]:
        """Return this process's groups of an optimizer step."""
        wanted = range(self.first + update.start, self.first + update.stop)
        return [group for group in self.groups if group.position in wanted]


def bare(group: Group) -> Group:
    """Return a group without what the data give again."""
    return replace(group, media={})


def to_tensors(block: Block, groups: Sequence[Group]) -> dict[str, Tensor]:
    """Return a block with the groups of all processes as tensors.

    Args:
        block: the rollout at hand.
        groups: every process's.
    """
    groups = sorted(groups, key=lambda group: group.position)
    replies = [reply for group in groups for reply in group.replies]
    tensors = {
        "place": torch.tensor([block.first, block.prompts, block.done]),
        "positions": torch.tensor([group.position for group in groups]),
        "indices": torch.tensor([group.index for group in groups]),
        "lengths": torch.tensor([len(reply) for reply in replies]),
        "cut": torch.tensor([cut for group in groups for cut in group.cut]),
        "token_ids": torch.from_numpy(np.concatenate(replies)),
    }
    for name in groups[0].sequence_values:
        values = [value for group in groups for value in group.sequence_values[name]]
        tensors[SEQUENCE + name] = torch.tensor(values, dtype=torch.float32)
    for name in groups[0].token_values:
        arrays = [array for group in groups for array in group.token_values[name]]
        tensors[TOKEN + name] = torch.from_numpy(np.concatenate(arrays).astype(np.float32))
    return tensors


def from_tensors(
    tensors: Mapping[str, Tensor], prompts: Prompts, num_generations: int
) -> tuple[tuple[int, int, int], list[Group]]:
    """Return [prompts before, prompts, steps done] and the groups of all processes, without media.

    Raises:
        ConfigError: the groups are of another size.
    """
    first, number, done = (int(value) for value in tensors["place"])
    size = len(tensors["lengths"]) // len(tensors["positions"])
    if size != num_generations:
        raise ConfigError(
            f"--num_generations {num_generations}: the checkpoint is in the middle of a rollout "
            f"with {size} replies to a prompt. Resume with --num_generations {size}."
        )
    lengths = tensors["lengths"].tolist()
    by_token = {
        name.removeprefix(TOKEN): _split(value, lengths)
        for name, value in tensors.items()
        if name.startswith(TOKEN) or name == "token_ids"
    }
    by_sequence = {
        name.removeprefix(SEQUENCE): value.tolist()
        for name, value in tensors.items()
        if name.startswith(SEQUENCE)
    }
    replies, cut = by_token.pop("token_ids"), tensors["cut"].tolist()
    groups = []
    places = zip(tensors["positions"].tolist(), tensors["indices"].tolist(), strict=True)
    for number_of_group, (position, index) in enumerate(places):
        own = slice(number_of_group * size, (number_of_group + 1) * size)

        def part(values: Mapping[str, list[Any]], own: slice = own) -> dict[str, Any]:
            return {name: found[own] for name, found in values.items()}

        groups.append(
            Group(
                position,
                index,
                prompts[index],
                {},
                tuple(replies[own]),
                tuple(bool(value) for value in cut[own]),
                part(by_sequence),
                part(by_token),
            )
        )
    return (first, number, done), groups


def _split(values: Tensor, lengths: list[int]) -> list[np.ndarray]:
    return [part.numpy() for part in values.split(lengths)]
