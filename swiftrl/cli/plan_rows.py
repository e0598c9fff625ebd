"""The rows that a plan counts with: those of the data, or of the lengths that are stated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from swiftrl.cli.plan_config import PlanConfig
from swiftrl.core.config import Settings
from swiftrl.data.batch import make_tree
from swiftrl.data.config import DataConfig
from swiftrl.rlhf.algorithm import Algorithm
from swiftrl.rlhf.config import TrainConfig
from swiftrl.rlhf.online import OnlineAlgorithm
from swiftrl.rlhf.order import Feed
from swiftrl.rlhf.planning.workload import Tree
from swiftrl.templates.config import TemplateConfig

__all__ = ["Lengths", "measured_lengths", "stated_lengths"]

_ASSUMED_LENGTH = 1024


@dataclass(frozen=True, slots=True)
class Lengths:
    """The rows that memory has to hold at once, and where they come from.

    Attributes:
        trees: of the largest forward pass.
        source: in words.
        rows: of the training data; None if unknown.
    """

    trees: tuple[Tree, ...]
    source: str
    rows: int | None


def stated_lengths(settings: Settings, algorithm: Algorithm[Any], context: int | None) -> Lengths:
    """Return rows of the lengths that the settings give."""
    plan, longest = settings[PlanConfig], settings[TemplateConfig].max_length
    rows = settings[TrainConfig].per_device_train_batch_size
    online = isinstance(algorithm, OnlineAlgorithm)
    whole = longest or min(_ASSUMED_LENGTH, context or _ASSUMED_LENGTH)
    reply = algorithm.config.max_completion_length if online else plan.reply_tokens
    prompt = plan.prompt_tokens
    if prompt is None:
        prompt = whole // 2 if reply is None else max(whole - reply, 1)
    reply = reply or max(whole - prompt, 1)
    given = (plan.prompt_tokens, plan.reply_tokens, longest) != (None, None, None)
    source = "as stated" if given else "assumed; see --prompt_tokens, --reply_tokens, --max_length"
    if online:
        group = algorithm.config.num_generations
        sizes = [group] * max(rows // group, 1) if rows >= group else [rows]
        trees = tuple(Tree(prompt, (reply,) * n, (reply,) * n) for n in sizes)
    else:
        count = {"preference": 2}.get(algorithm.row_kind, 1)
        all_train = algorithm.row_kind == "text"
        trained = prompt + reply if all_train else reply
        trees = (Tree(prompt, (reply,) * count, (trained,) * count),) * rows
    return Lengths(
        trees, f"{source}: prompts of {prompt}, replies of {reply} tokens", plan.num_rows
    )


def measured_lengths(rows: Sequence[Any], settings: Settings, *, layout: str, name: str) -> Lengths:
    """Return the rows of the largest forward pass of a data set, in the order of the run."""
    train, data = settings[TrainConfig], settings[DataConfig]
    size = train.per_device_train_batch_size
    trees = [_tree(row) for row in rows]
    feed = Feed(
        trees,
        seed=train.seed if data.data_seed is None else data.data_seed,
        shuffle=data.dataset_shuffle,
        micro_batch_size=size,
    )
    order = [feed.index_at(position) for position in range(len(trees))]
    passes = [order[start : start + size] for start in range(0, len(order), size)]

    def weight(chosen: list[int]) -> int:
        if layout == "tree":
            return sum(trees[i].tokens for i in chosen)
        return len(chosen) * max(trees[i].longest for i in chosen)

    largest = max(passes, key=weight)
    chosen = tuple(sorted((trees[i] for i in largest), key=lambda t: -t.tokens))
    lengths = np.array([tree.longest for tree in trees])
    source = (
        f"{name}: {len(trees):,} rows, sequences of {int(np.median(lengths)):,} tokens (median), "
        f"{int(lengths.max()):,} at most"
    )
    return Lengths(chosen, source, len(trees))


def _tree(row: Any) -> Tree:
    made = make_tree(row.sequences)
    return Tree(
        len(made.trunk_ids),
        tuple(len(ids) for ids in made.branch_ids),
        tuple(int((weights > 0).sum()) for weights in made.branch_weights),
    )
