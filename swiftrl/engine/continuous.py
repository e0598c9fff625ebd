"""Continuous batching: replies join and leave the batch at every step.

A step reads some prompt tokens of replies that have joined, then gives every reply that has been
read one more token. Rows 0 to R - 1 of the cache are replies that write, the rows behind them
replies that are still being read; when a reply ends, the last of its kind takes its row.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from swiftrl.core.errors import EngineError, MachineError, SwiftRLError
from swiftrl.engine.attention import Span
from swiftrl.engine.base import Chunk
from swiftrl.engine.cache import SlotCache
from swiftrl.engine.forward import Forward
from swiftrl.engine.prefixes import Prefixes
from swiftrl.engine.reply import Reply, common_prefix
from swiftrl.engine.sampling import SamplingParams, choose, logprobs_of

__all__ = ["Continuous", "Limits", "Told"]

_AHEAD = 64
"""Tokens for which there must be room before a reply joins."""

Told = tuple[Reply, Chunk]


@dataclass(frozen=True, slots=True)
class Limits:
    """How much runs at once.

    Attributes:
        replies: most in a batch.
        prefill_tokens: most prompt tokens read in a step, while others wait for their next token.
        cache_bytes: most memory of keys and values; None is no limit.
        prefixes: rows kept of replies that are over, for prompts that begin like them.
    """

    replies: int = 32
    prefill_tokens: int = 512
    cache_bytes: int | None = None
    prefixes: int = 8


class Continuous:
    """The batch. Everything happens in the thread that calls `step`.

    Args:
        forward: runs the model.
        limits: how much runs at once.
    """

    def __init__(self, forward: Forward, limits: Limits) -> None:
        self._forward, self._limits = forward, limits
        self.waiting: deque[Reply] = deque()
        self.running: list[Reply] = []
        self._written = 0
        self._cache = SlotCache()
        self._prefixes = Prefixes(self._cache, limits.prefixes)
        self._alone: set[Reply] = set()
        self.policy_version = 0

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do."""
        return not self.waiting and not self.running

    def add(self, reply: Reply) -> None:
        """Let a reply wait for its place in the batch."""
        self.waiting.append(reply)

    def forget(self) -> None:
        """Drop all keys and values; replies on their way are read again."""
        for reply in reversed(self.running):
            reply.read = 0
            self.waiting.appendleft(reply)
        self.running.clear()
        self._written = 0
        self._cache.clear()
        self._prefixes.clear()

    def forget_prefixes(self) -> None:
        """Drop what is kept of replies that are over."""
        self._prefixes.clear()

    def fail_all(self, error: Exception) -> list[Told]:
        """End every reply of the batch by an error; those that wait get their turn."""
        told = [self._fail(reply, error) for reply in self.running]
        self.running.clear()
        self.forget()
        return told

    @torch.inference_mode()
    def step(self) -> list[Told]:
        """Do some work and return what to tell whom."""
        told = self._drop_aborted()
        self._admit()
        told += self._read_prompts()
        told += self._write()
        for reply, _ in told:
            if reply.reason is not None and reply in self.running:
                self._leave(reply)
        return told

    def _drop_aborted(self) -> list[Told]:
        gone = [reply for reply in (*self.running, *self.waiting) if reply.aborted]
        for reply in gone:
            if reply in self.running:
                self._leave(reply)
            else:
                self.waiting.remove(reply)
        return [(reply, reply.abort(self.policy_version)) for reply in gone]

    def _admit(self) -> None:
        """Give waiting replies rows while there are any."""
        while self.waiting and len(self.running) < self._limits.replies:
            reply = self.waiting[0]
            others = {one.adapter for one in self.running} - {reply.adapter}
            if others and not self._forward.adapters.mixes:
                return
            longest = max([len(one.ids) for one in self.running] + [len(reply.ids)])
            if self.running and not self._fits(len(self.running) + 1, longest + _AHEAD):
                return
            self.running.append(self.waiting.popleft())

    def _fits(self, rows: int, columns: int) -> bool:
        allowed, token = self._limits.cache_bytes, self._cache.bytes_per_token
        if allowed is None or not token:
            return True
        rows, columns = self._cache.planned(rows, columns)
        return (rows + self._prefixes.rows) * columns * token <= allowed

    def _read_prompts(self) -> list[Told]:
        """Read the prompts of one adapter's replies, up to the limit of a step."""
        reading = self.running[self._written :]
        if not reading:
            return []
        lead = reading[0]
        group: list[tuple[Reply, int]] = []
        left = self._limits.prefill_tokens
        for reply in reading:
            apart = group and (reply in self._alone or lead in self._alone)
            if left <= 0 or reply.adapter != lead.adapter or apart:
                break
            self._reuse(reply)
            # The samples of a prompt wait until the first has read it, and copy that.
            if reply.unread > 1 and any(one.request is reply.request for one, _ in group):
                break
            count = min(reply.unread, left)
            group.append((reply, count))
            left -= count
        try:
            return self._read_group(group)
        except (SwiftRLError, RuntimeError, ValueError, LookupError) as error:
            if len(group) > 1:
                # One of them is to blame; alone, each shows whether it is.
                self._alone.update(reply for reply, _ in group)
                return []
            return [self._fail(lead, error)]

    def _read_group(self, group: Sequence[tuple[Reply, int]]) -> list[Told]:
        longest = max(reply.read + count for reply, count in group)
        self._cache.reserve(len(self.running), longest)
        ids: list[int] = []
        spans: list[Span] = []
        read: list[int] = []
        places: list[range] = []
        for reply, count in group:
            spans.append(Span(self.running.index(reply), reply.read, count))
            # All places where the prompt's own log-probabilities are wanted, else the last.
            wants_all = reply.request.prompt_logprobs is not None
            places.append(range(len(read), len(read) + (count if wants_all else 1)))
            read += range(len(ids), len(ids) + count) if wants_all else [len(ids) + count - 1]
            ids += reply.ids[reply.read : reply.read + count]
        logits = self._forward.prefill(self._cache, ids, spans, read, group[0][0].adapter)
        done: list[tuple[Reply, int]] = []
        for (reply, count), rows in zip(group, places, strict=True):
            if reply.request.prompt_logprobs is not None:
                self._score_prompt(reply, count, logits[rows.start : rows.stop])
            reply.read += count
            if not reply.unread:
                done.append((reply, rows.stop - 1))
                self._alone.discard(reply)
        if not done:
            return []
        # They were the first of those being read, so that they lie behind those that write.
        self._written += len(done)
        return self._choose([reply for reply, _ in done], logits[[row for _, row in done]])

    def _reuse(self, reply: Reply) -> None:
        """Take over keys and values of a reply that began with the same tokens."""
        if reply.read or reply.request.prompt_logprobs is not None:
            return
        ids = np.asarray(reply.ids, dtype=np.int64)
        row = self.running.index(reply)
        best = max(
            (
                (min(common_prefix(ids, other.prompt), other.read), index)
                for index, other in enumerate(self.running)
                if other is not reply and other.adapter == reply.adapter
            ),
            default=(0, -1),
        )
        kept, entry = self._prefixes.find(ids, reply.adapter)
        length = min(max(best[0], kept), len(ids) - 1)
        if length <= 0:
            return
        self._cache.reserve(len(self.running), length)
        if best[0] >= kept:
            self._cache.copy(self._cache, best[1], row, length)
        else:
            self._prefixes.copy(entry, row, length)
        reply.read = length
        reply.cached = min(length, reply.prompt_size)

    def _score_prompt(self, reply: Reply, count: int, logits: Any) -> None:
        """Note what the prompt's own tokens were worth."""
        start = reply.read
        following = reply.ids[start + 1 : min(start + count + 1, reply.prompt_size)]
        scores = reply.prompt_scores = [] if start == 0 else reply.prompt_scores or []
        if not following:
            return
        asked = SamplingParams(top_logprobs=reply.request.prompt_logprobs or 0)
        tokens = torch.tensor(following, device=logits.device)
        found, tops = logprobs_of(logits[: len(following)], tokens, [asked] * len(following))
        scores += zip(found, tops, strict=True)

    def _write(self) -> list[Told]:
        """Give every reply that has been read, and was not just now, its next token."""
        rows = [reply for reply in self.running[: self._written] if reply.reason is None]
        ready = self._compact(rows)
        if not ready:
            return []
        if not self._make_room():
            return [self._fail(self.running[0], MachineError(
                "there is no memory for the keys and values of one more token: a smaller "
                "--max_model_len or max_tokens, or a shorter prompt, would do."
            ))]  # fmt: skip
        batch = self.running[: self._written]
        try:
            logits = self._forward.decode(
                self._cache,
                [reply.ids[-1] for reply in batch],
                [len(reply.ids) for reply in batch],
                [reply.adapter for reply in batch],
            )
        except (RuntimeError, ValueError, LookupError) as error:
            return [self._fail(reply, error) for reply in list(batch)]
        for reply in batch:
            reply.read = len(reply.ids)
        return self._choose(batch, logits)

    def _choose(self, replies: Sequence[Reply], logits: Any) -> list[Told]:
        try:
            chosen = choose(logits, [reply.draw for reply in replies])
        except SwiftRLError:
            # One request's grammar gave up: the others go on.
            return [told for row, reply in enumerate(replies)
                    for told in self._choose_alone(reply, logits[row : row + 1])]  # fmt: skip
        told = []
        for reply, token, logprob, top in zip(
            replies, chosen.tokens, chosen.logprobs, chosen.tops, strict=True
        ):
            chunk = reply.add(token, logprob, top, self.policy_version)
            if chunk is not None:
                told.append((reply, chunk))
        return told

    def _choose_alone(self, reply: Reply, logits: Any) -> Iterator[Told]:
        try:
            chosen = choose(logits, [reply.draw])
        except SwiftRLError as error:
            yield self._fail(reply, error)
            return
        chunk = reply.add(chosen.tokens[0], chosen.logprobs[0], chosen.tops[0], self.policy_version)
        if chunk is not None:
            yield reply, chunk

    def _compact(self, ready: Sequence[Reply]) -> bool:
        """Let those that ended by their first token go; return whether others write."""
        for reply in [one for one in self.running[: self._written] if one.reason is not None]:
            self._leave(reply)
        return bool(ready)

    def _make_room(self) -> bool:
        """Have room for one more token of every row; the last to come waits again if need be."""
        while True:
            longest = max(len(reply.ids) for reply in self.running)
            if self._fits(len(self.running), longest):
                self._cache.reserve(len(self.running), longest)
                return self._written > 0
            if self._prefixes.rows:
                self._prefixes.clear()
            elif len(self.running) == 1:
                return False
            else:
                last = self.running[-1]
                self._leave(last, keep=False)
                last.read = 0
                self.waiting.appendleft(last)
                self._cache.shrink(len(self.running))

    def _leave(self, reply: Reply, *, keep: bool = True) -> None:
        """Take a reply out of the batch; others take its row."""
        row = self.running.index(reply)
        if keep and reply.read and self._fits(len(self.running), self._cache.columns):
            self._prefixes.keep(row, reply.ids[: reply.read], reply.adapter)
        if row < self._written:
            self._written -= 1
            self._move(self._written, row)
            row = self._written
        self._move(len(self.running) - 1, row)
        self.running.pop()

    def _move(self, source: int, to: int) -> None:
        if source != to:
            self.running[to] = self.running[source]
            if self.running[to].read:
                self._cache.copy(self._cache, source, to, self.running[to].read)

    def _fail(self, reply: Reply, error: Exception) -> Told:
        if not isinstance(error, SwiftRLError):
            reason = " ".join(str(error).split())[:300]
            memory = "out of memory" in reason or "allocate memory" in reason
            error = (MachineError if memory else EngineError)(f"the model failed: {reason}")
        return reply, reply.fail(error)
