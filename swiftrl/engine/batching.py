"""Which prompts run together, and how: as a model bears padding, pictures and a cache."""

from __future__ import annotations

import random
import threading
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import torch

from swiftrl.core import log
from swiftrl.engine.padding import cache_agrees, padding_is_unseen
from swiftrl.engine.sampling import generators
from swiftrl.models.picture_rows import rows_apart

__all__ = ["Batching", "Job"]

Job = tuple[int, random.Random]
"""A prompt's index, and the randomness of one reply to it."""


class Batching:
    """What a model bears, found by trial the first time it matters.

    Args:
        model: a causal model, adapters included.
        tokenizer: of the model.
        max_batch_size: sequences decoded at once.
        compute_dtype: of products.
        lock: held while the model runs.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        max_batch_size: int,
        compute_dtype: torch.dtype | None,
        lock: threading.Lock,
    ) -> None:
        self._model, self._tokenizer = model, tokenizer
        self._max_batch_size = max_batch_size
        self._compute_dtype = compute_dtype
        self._lock = lock

    @cached_property
    def use_cache(self) -> bool:
        """Whether keys and values of earlier tokens are kept: not where that changes replies."""
        with self._lock:
            agrees = cache_agrees(self._model, self._tokenizer, self._compute_dtype)
        if not agrees:
            log.warn(
                f"{type(self._model).__name__}: with its cache it does not write what it would "
                "without one, so each token takes a pass over all before it; replies take longer."
            )
        return agrees

    @cached_property
    def _padding_is_unseen(self) -> bool:
        """Whether a padded prompt is continued as it is alone: some models ignore the mask."""
        cached = self.use_cache
        with self._lock:
            return padding_is_unseen(
                self._model, self._tokenizer, self._compute_dtype, use_cache=cached
            )

    def jobs(
        self,
        prompts: Sequence[Sequence[int]],
        media: Sequence[Mapping[str, Any]] | None,
        seed: int | None,
        n: int,
        numbers: Sequence[int] | None = None,
    ) -> Iterator[list[Job]]:
        """Yield batches of jobs, `n` a prompt, those of similar length together.

        `numbers` are the prompts', on which their randomness depends; 0, 1, ... if unset.
        """
        numbers = range(len(prompts)) if numbers is None else numbers
        base = getattr(self._model, "get_base_model", lambda: self._model)()
        for group in rows_apart(base, media or [{}] * len(prompts)):
            jobs = [
                (index, source)
                for index in sorted(group, key=lambda i: len(prompts[i]))
                for source in generators(seed, numbers[index], n)
            ]
            yield from self._batches(jobs, [len(prompts[index]) for index, _ in jobs])

    def _batches(self, jobs: list[Job], lengths: list[int]) -> Iterator[list[Job]]:
        """Split jobs, in order of length, into batches; of one length where padding is seen."""
        apart = len(set(lengths)) > 1 and not self._padding_is_unseen
        start = 0
        while start < len(jobs):
            stop = min(start + self._max_batch_size, len(jobs))
            if apart:
                stop = min(stop, bisect_right(lengths, lengths[start]))
            yield jobs[start:stop]
            start = stop
