"""Replies of a model in place of the data's, in some of the steps (distillation).

Shapes: T packed tokens.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from torch import Tensor

from swiftrl.data.batch import Tree, TreeBatch, make_tree, pack
from swiftrl.engine.base import Completion, Engine
from swiftrl.engine.sampling import SamplingParams
from swiftrl.rlhf.distributed import Processes
from swiftrl.rlhf.order import Feed, MicroBatch
from swiftrl.rlhf.rollout_metrics import length_sums
from swiftrl.rlhf.steps import Sums
from swiftrl.rlhf.teaching import WRITTEN
from swiftrl.templates.encoding import Encoded

__all__ = ["Rewriting", "Writer", "write_replies"]


@dataclass(frozen=True, slots=True)
class Writer:
    """Who writes.

    Attributes:
        engine: generates.
        ready: every process goes through it, to have the whole weights in a state that generates.
    """

    engine: Engine
    ready: Callable[[], contextlib.AbstractContextManager[None]]


def write_replies(
    writer: Writer,
    processes: Processes,
    prompts: Sequence[Sequence[int]],
    media: Sequence[Mapping[str, Any]],
    sampling: SamplingParams,
    *,
    numbers: Sequence[int],
    n: int = 1,
) -> list[list[Completion]]:
    """Return `n` replies to each prompt; processes that share rows share the writing.

    Args:
        writer: who writes.
        processes: those of the run.
        prompts: token ids.
        media: tensors of each prompt's pictures.
        sampling: how.
        numbers: of the prompts, which with the seed decide their replies.
        n: replies to a prompt.
    """
    group = processes.sequence
    mine = group.shares(len(prompts))
    own = slice(mine.start, mine.stop)
    with writer.ready():
        written = writer.engine.generate(
            prompts[own], sampling, n, media[own], numbers=numbers[own]
        )
    return [replies for part in group.gather(written) for replies in part]


@dataclass
class Rewriting:
    """A feed some of whose steps have a model's replies instead of the data's.

    Whether a step has depends on the seed and its place in the stream alone.

    Attributes:
        student: the model that trains.
        teacher: writes in the steps where the student does not; None leaves those as they are.
        share: of the steps that the student writes, 0 to 1.
        sampling: how replies are sampled.
        processes: those of the run.
        seed: of the choice.
    """

    student: Writer
    teacher: Writer | None
    share: float
    sampling: SamplingParams
    processes: Processes
    seed: int
    _feed: Feed | None = None
    _metrics: Sums = field(default_factory=Sums)

    def of(self, feed: Feed) -> Rewriting:
        """Return the same for a feed, which must give rows in the order of the stream."""
        self._feed = feed
        return self

    @property
    def num_rows(self) -> int | None:
        """Rows of the data; None for a stream."""
        return self._source.num_rows

    @property
    def fingerprint(self) -> str | None:
        """Of the data."""
        return self._source.fingerprint

    @property
    def _source(self) -> Feed:
        assert self._feed is not None
        return self._feed

    def steps(self, start: int, stop: int, global_batch: int) -> Iterator[list[MicroBatch]]:
        """Yield this process's micro-batches of each step, as `Feed.steps` does."""
        steps = self._source.steps(start, stop, global_batch)
        for first, batches in zip(range(start, stop, global_batch), steps, strict=True):
            writer = self.student if self._student_writes(first) else self.teacher
            yield batches if writer is None else self._written(batches, writer)

    def take_metrics(self) -> dict[str, tuple[float, float]]:
        """Return the sums and counts since the last call."""
        found, self._metrics = self._metrics.values, Sums()
        return found

    def _student_writes(self, position: int) -> bool:
        return bool(np.random.default_rng([self.seed, position]).random() < self.share)

    def _written(self, batches: Sequence[MicroBatch], writer: Writer) -> list[MicroBatch]:
        """Return the micro-batches with replies of `writer`, written in one go."""
        self.processes.at("writing the replies")
        spans = [_prompts(micro.batch) for micro in batches]
        prompts = [ids.tolist() for found in spans for ids, _ in found]
        media = [tensors for found in spans for _, tensors in found]
        first = batches[0].position if batches else 0
        replies = write_replies(
            writer,
            self.processes,
            prompts,
            media,
            self.sampling,
            numbers=range(first, first + len(prompts)),
        )
        self._metrics.add(length_sums(replies))
        following = iter(replies)
        return [
            replace(
                micro,
                batch=pack([_tree(ids, tensors, next(following)[0]) for ids, tensors in found]),
            )
            for micro, found in zip(batches, spans, strict=True)
        ]


def _prompts(batch: TreeBatch) -> list[tuple[np.ndarray, Mapping[str, Tensor]]]:
    """Return each row's tokens up to where its reply begins, and its pictures' tensors."""
    ids = batch.token_ids.numpy()
    media = batch.media or ({},) * len(batch.shapes)
    return [
        (ids[shape.start : shape.start + shape.trunk], tensors)
        for shape, tensors in zip(batch.shapes, media, strict=True)
    ]


def _tree(prompt: np.ndarray, media: Mapping[str, Tensor], reply: Completion) -> Tree:
    ids = np.concatenate([prompt, np.array(reply.token_ids, dtype=np.int64)]).astype(np.int32)
    trained = np.zeros(len(ids), dtype=np.float32)
    trained[len(prompt) :] = 1
    return make_tree([Encoded(ids, trained)], media=media, token_values={WRITTEN: [trained]})
