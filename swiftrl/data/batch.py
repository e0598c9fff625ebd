"""Batches of trees: sequences that share a prompt share its tokens.

Shapes: T packed tokens, N trained tokens, B sequences, L longest sequence, P trunk, R branch.

A tree is a trunk (the longest common prefix of its sequences) and one branch a sequence. A batch
lays the trees one after another in a single row without padding: trunk, branch, branch, ...; the
positions of every branch go on from its trunk. `to_rows` gives the same sequences padded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

__all__ = ["RowBatch", "TrainedTokens", "Tree", "TreeBatch", "TreeShape", "make_tree", "pack"]

Batch = TypeVar("Batch", bound="_Tensors")


class TrainedTokens(Protocol):
    """An encoded sequence: its tokens and how much each counts in the loss."""

    @property
    def token_ids(self) -> np.ndarray:
        """[L] int32."""
        ...

    @property
    def loss_weights(self) -> np.ndarray:
        """[L] float32, 0 where a token is not trained."""
        ...


@dataclass(frozen=True, slots=True)
class Tree:
    """Sequences with a common prefix.

    Attributes:
        trunk_ids: [P] int32, the common prefix.
        branch_ids: a [R] int32 array for each sequence: the rest of it.
        branch_weights: the loss weights [R] float32 of the same tokens.
        columns: further numbers of the row by name.
        media: tensors of the trunk's pictures, by the name of the model's argument.
        sequence_values: a number of each sequence, by name (an advantage).
        token_values: a [R] float32 array of each sequence, by name (who sampled it thought so
            likely).
    """

    trunk_ids: np.ndarray
    branch_ids: tuple[np.ndarray, ...]
    branch_weights: tuple[np.ndarray, ...]
    columns: Mapping[str, float] = field(default_factory=dict)
    media: Mapping[str, Tensor] = field(default_factory=dict)
    sequence_values: Mapping[str, Sequence[float]] = field(default_factory=dict)
    token_values: Mapping[str, Sequence[np.ndarray]] = field(default_factory=dict)

    @property
    def num_tokens(self) -> int:
        """Tokens that run through the model."""
        return len(self.trunk_ids) + sum(map(len, self.branch_ids))


@dataclass(frozen=True, slots=True)
class TreeShape:
    """Where a tree lies in the packed row: `start`, `trunk` tokens, then each branch's tokens."""

    start: int
    trunk: int
    branches: tuple[int, ...]

    @property
    def stop(self) -> int:
        """One past the tree's last token."""
        return self.start + self.trunk + sum(self.branches)


_NAMED = ("columns", "sequence_values", "token_values")


@dataclass(frozen=True)
class _Tensors:
    """Moves every tensor field at once."""

    def to(self: Batch, device: torch.device | str) -> Batch:
        """Return the batch with its tensors on `device` (copied without waiting if pinned)."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self: Batch) -> Batch:
        """Return the batch in page-locked memory, for faster copies to an accelerator."""
        return self._map(Tensor.pin_memory)

    def _map(self: Batch, change: Any) -> Batch:
        changed: dict[str, Any] = {}
        for item in fields(self):
            name, value = item.name, getattr(self, item.name)
            if isinstance(value, Tensor):
                changed[name] = change(value)
            elif name in _NAMED:
                changed[name] = {key: change(column) for key, column in value.items()}
            elif name == "media":
                changed[name] = tuple({k: change(v) for k, v in tree.items()} for tree in value)
        return replace(self, **changed)


@dataclass(frozen=True)
class RowBatch(_Tensors):
    """The plain layout: one padded row a sequence.

    Attributes:
        token_ids: [B, L] int64, padded on the right.
        attention_mask: [B, L] int64, 1 on tokens and 0 on padding.
        positions: [B, L] int64.
        source_index: [N] int64 into the flattened B * L hidden states, in the order of the tree
            batch it came from.
    """

    token_ids: Tensor
    attention_mask: Tensor
    positions: Tensor
    source_index: Tensor


@dataclass(frozen=True)
class TreeBatch(_Tensors):
    """Trees packed into one row.

    Trained tokens are ordered by sequence, then by position.

    Attributes:
        token_ids: [T] int64.
        positions: [T] int64, each token's position in its sequence.
        source_index: [N] int64 into the row: whose hidden state predicts the trained token. A
            branch's first token is predicted by its trunk's last.
        target_ids: [N] int64, the trained tokens.
        sequence_index: [N] int64 in 0..B-1, ascending. Sequences are numbered through the trees,
            so that a pair's are 2p (chosen) and 2p + 1 (rejected).
        weights: [N] float32 > 0, loss weights.
        shapes: where each tree lies.
        num_sequences: B.
        columns: [trees] float32 by name.
        keys: of each tree, 32 hexadecimal digits that stand for its tokens and their weights.
        media: of each tree, its pictures' tensors [pictures or patches, ...]; or empty.
        sequence_values: [B] float32 by name.
        token_values: [N] float32 by name.
    """

    token_ids: Tensor
    positions: Tensor
    source_index: Tensor
    target_ids: Tensor
    sequence_index: Tensor
    weights: Tensor
    shapes: tuple[TreeShape, ...]
    num_sequences: int
    columns: Mapping[str, Tensor] = field(default_factory=dict)
    keys: tuple[str, ...] = ()
    media: tuple[Mapping[str, Tensor], ...] = ()
    sequence_values: Mapping[str, Tensor] = field(default_factory=dict)
    token_values: Mapping[str, Tensor] = field(default_factory=dict)

    def sequences(self) -> list[tuple[int, Tensor, Tensor]]:
        """Return each sequence's tree, and where its trunk and branch lie in the row."""
        return [
            (tree, torch.arange(trunk.start, trunk.stop), torch.arange(branch.start, branch.stop))
            for tree, shape in enumerate(self.shapes)
            for trunk, branch in _sequence_spans(shape)
        ]

    def split_by_tree(self, values: Tensor) -> tuple[Tensor, ...]:
        """Split [N] values into those of each tree."""
        per_sequence = torch.bincount(self.sequence_index, minlength=self.num_sequences).tolist()
        counts, first = [], 0
        for shape in self.shapes:
            counts.append(sum(per_sequence[first : first + len(shape.branches)]))
            first += len(shape.branches)
        return values.split(counts)

    def to_rows(self, pad_id: int = 0) -> RowBatch:
        """Return the same sequences as padded rows."""
        spans = [span for shape in self.shapes for span in _sequence_spans(shape)]
        width = max((len(trunk) + len(branch) for trunk, branch in spans), default=0)
        gather = np.zeros((len(spans), width), dtype=np.int64)
        length = np.zeros((len(spans), 1), dtype=np.int64)
        for row, (trunk, branch) in enumerate(spans):
            gather[row, : len(trunk)] = trunk
            gather[row, len(trunk) : len(trunk) + len(branch)] = branch
            length[row] = len(trunk) + len(branch)
        column = np.arange(width, dtype=np.int64)
        device = self.token_ids.device
        mask = torch.from_numpy(column < length).to(device)
        tokens = self.token_ids[torch.from_numpy(gather).to(device)]
        return RowBatch(
            token_ids=tokens.masked_fill(~mask, pad_id),
            attention_mask=mask.long(),
            positions=torch.from_numpy(np.minimum(column, np.maximum(length - 1, 0))).to(device),
            source_index=self.sequence_index * width + self.positions[self.source_index],
        )


def _sequence_spans(shape: TreeShape) -> list[tuple[range, range]]:
    trunk = range(shape.start, shape.start + shape.trunk)
    spans, start = [], trunk.stop
    for branch in shape.branches:
        spans.append((trunk, range(start, start + branch)))
        start += branch
    return spans


def _first_trained(weights: np.ndarray) -> int:
    """Index of the first trained token; the first of all is never one, as nothing predicts it."""
    trained = np.flatnonzero(weights[1:] > 0)
    return int(trained[0]) + 1 if len(trained) else len(weights)


def _common_prefix(arrays: Sequence[np.ndarray]) -> int:
    length = min(map(len, arrays))
    for other in arrays[1:]:
        differs = np.flatnonzero(arrays[0][:length] != other[:length])
        length = int(differs[0]) if len(differs) else length
    return length


def make_tree(
    sequences: Sequence[TrainedTokens],
    columns: Mapping[str, float] | None = None,
    media: Mapping[str, Tensor] | None = None,
    *,
    sequence_values: Mapping[str, Sequence[float]] | None = None,
    token_values: Mapping[str, Sequence[np.ndarray]] | None = None,
) -> Tree:
    """Fold sequences into a tree.

    The trunk ends where they first differ, and before the first trained token of any of them, so
    that trained tokens always stand in branches. What a single sequence trains nothing of is
    trunk altogether.

    Args:
        sequences: at least one; the order is kept.
        columns: further numbers of the row.
        media: tensors of the pictures that every sequence shows.
        sequence_values: a number of each sequence, by name.
        token_values: a [L] array of each sequence, by name.
    """
    ids = [np.asarray(sequence.token_ids, dtype=np.int32) for sequence in sequences]
    weights = [np.asarray(sequence.loss_weights, dtype=np.float32) for sequence in sequences]
    trunk = min(_common_prefix(ids), *(_first_trained(weight) for weight in weights))
    return Tree(
        trunk_ids=ids[0][:trunk],
        branch_ids=tuple(array[trunk:] for array in ids),
        branch_weights=tuple(array[trunk:] for array in weights),
        columns=dict(columns or {}),
        media=dict(media or {}),
        sequence_values=dict(sequence_values or {}),
        token_values={
            name: tuple(np.asarray(array, dtype=np.float32)[trunk:] for array in arrays)
            for name, arrays in (token_values or {}).items()
        },
    )


def pack(trees: Sequence[Tree]) -> TreeBatch:
    """Lay trees one after another in a single row."""
    tokens: list[np.ndarray] = []
    positions: list[np.ndarray] = []
    trained: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    values: dict[str, list[np.ndarray]] = {name: [] for tree in trees for name in tree.token_values}
    counts: list[int] = []
    shapes: list[TreeShape] = []
    start = 0
    for tree in trees:
        trunk = len(tree.trunk_ids)
        shape = TreeShape(start, trunk, tuple(map(len, tree.branch_ids)))
        tokens.append(tree.trunk_ids)
        positions.append(np.arange(trunk))
        offset = start + trunk
        for branch, (ids, weights) in enumerate(
            zip(tree.branch_ids, tree.branch_weights, strict=True)
        ):
            tokens.append(ids)
            positions.append(np.arange(trunk, trunk + len(ids)))
            chosen = np.flatnonzero(weights > 0)
            if not trunk:
                chosen = chosen[chosen > 0]
            source = np.where(chosen > 0, offset + chosen - 1, start + trunk - 1)
            trained.append((source, ids[chosen], weights[chosen]))
            for name, found in values.items():
                found.append(tree.token_values[name][branch][chosen])
            counts.append(len(chosen))
            offset += len(ids)
        shapes.append(shape)
        start = shape.stop
    sources, targets, weights = zip(*trained, strict=True) if trained else ((), (), ())
    return TreeBatch(
        token_ids=_joined(tokens, np.int64),
        positions=_joined(positions, np.int64),
        source_index=_joined(sources, np.int64),
        target_ids=_joined(targets, np.int64),
        sequence_index=torch.from_numpy(np.repeat(np.arange(len(counts)), counts)),
        weights=_joined(weights, np.float32),
        shapes=tuple(shapes),
        num_sequences=len(counts),
        columns={
            name: torch.tensor([tree.columns[name] for tree in trees], dtype=torch.float32)
            for name in (trees[0].columns if trees else ())
        },
        keys=tuple(map(_key, trees)),
        media=tuple(tree.media for tree in trees) if any(tree.media for tree in trees) else (),
        sequence_values={
            name: torch.tensor(
                [value for tree in trees for value in tree.sequence_values[name]],
                dtype=torch.float32,
            )
            for name in (trees[0].sequence_values if trees else ())
        },
        token_values={name: _joined(found, np.float32) for name, found in values.items()},
    )


def _key(tree: Tree) -> str:
    digest = hashlib.blake2b(tree.trunk_ids.tobytes(), digest_size=16)
    for ids, weights in zip(tree.branch_ids, tree.branch_weights, strict=True):
        digest.update(len(ids).to_bytes(8, "little") + ids.tobytes() + weights.tobytes())
    for name, tensor in sorted(tree.media.items()):
        digest.update(name.encode() + tensor.contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _joined(arrays: Sequence[np.ndarray], dtype: type) -> Tensor:
    return torch.from_numpy(np.concatenate([np.zeros(0, dtype), *arrays]).astype(dtype))
