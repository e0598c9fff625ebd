"""One reply of a continuous batch, from its prompt to its last token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from swiftrl.core.errors import SwiftRLError
from swiftrl.engine.base import Chunk, Completion, Deliver, FinishReason, Request, Top
from swiftrl.engine.detokenize import Detokenizer
from swiftrl.engine.sampling import Draw

__all__ = ["Reply", "common_prefix"]


class Reply:
    """What is known of a reply so far, and what its client has been told.

    Args:
        request: it answers.
        index: which of its samples.
        deliver: takes chunks.
        draw: decides its tokens.
        text: makes its text.
        stop_ids: end it.
        room: tokens it may have.

    Attributes:
        ids: tokens of prompt and reply.
        read: how many of these have keys and values.
        reason: why it is over; None while it is not.
        aborted: whether nobody waits for it any more.
        cached: tokens of the prompt that were not read again.
    """

    def __init__(
        self,
        request: Request,
        index: int,
        deliver: Deliver,
        *,
        draw: Draw,
        text: Detokenizer,
        stop_ids: frozenset[int],
        room: int,
    ) -> None:
        self.request, self.index, self.deliver = request, index, deliver
        self.draw, self.room = draw, room
        self._text, self._stop_ids = text, stop_ids
        self.prompt_size = len(request.prompt)
        self.ids = list(request.prompt)
        self.prompt = np.asarray(request.prompt, dtype=np.int64)
        self.read = self.cached = 0
        self.reason: FinishReason | None = None
        self.aborted = False
        self.prompt_scores: list[tuple[float, Top]] | None = None
        self._told_prompt = False
        self._logprobs: list[float] = []
        self._tops: list[Top] = []

    @property
    def adapter(self) -> str | None:
        """Whose weights it is written with."""
        return self.request.adapter

    @property
    def unread(self) -> int:
        """Tokens to read before the next can be chosen."""
        return len(self.ids) - self.read

    @property
    def tokens(self) -> Sequence[int]:
        """Of the reply alone."""
        return self.ids[self.prompt_size :]

    def add(self, token: int, logprob: float, top: Top, version: int) -> Chunk | None:
        """Take the next token and return what to tell of it, if anything."""
        self.ids.append(token)
        self._logprobs.append(logprob)
        self._tops.append(top)
        stopped = token in self._stop_ids
        piece = "" if stopped else self._piece(token)
        if stopped or self._text.stopped:
            self.reason = "stop"
        elif len(self._logprobs) >= self.room:
            self.reason = "length"
        if self.reason is not None:
            return self._last(piece, token, version)
        if not self.request.streamed:
            return None
        tops = (top,) if self.request.sampling.top_logprobs else ()
        return self._chunk(piece, (token,), (logprob,), tops)

    def pass_on(self, chunk: Chunk) -> None:
        """Tell what another engine wrote for it."""
        if chunk.completion is not None:
            self.reason = chunk.completion.finish_reason
            if not self.request.streamed:
                whole = chunk.completion
                chunk = replace(
                    chunk,
                    text=whole.text,
                    token_ids=whole.token_ids,
                    logprobs=whole.logprobs,
                    top_logprobs=whole.top_logprobs,
                )
        if self.request.streamed or self.reason is not None:
            self.deliver(replace(chunk, index=self.index))

    def abort(self, version: int) -> Chunk:
        """End it for want of a reader."""
        self.reason = "abort"
        return self._last("", None, version)

    def fail(self, error: SwiftRLError) -> Chunk:
        """End it by an error."""
        self.reason = "abort"
        return Chunk("", (), index=self.index, error=error)

    def _piece(self, token: int) -> str:
        """Return the text that has become certain; it is made late where nobody looks."""
        if self.request.streamed or self.request.sampling.stop:
            return self._text.push(token)
        self._text.hold(token)
        return ""

    def _last(self, piece: str, token: int | None, version: int) -> Chunk:
        piece += self._text.finish()
        tokens = tuple(self.tokens)
        whole = Completion(
            token_ids=tokens,
            logprobs=tuple(self._logprobs),
            text=self._text.text,
            finish_reason=self.reason or "abort",
            policy_version=version,
            top_logprobs=tuple(self._tops) if self.request.sampling.top_logprobs else (),
        )
        if not self.request.streamed:
            return self._chunk(whole.text, tokens, whole.logprobs, whole.top_logprobs, whole)
        if token is None:
            return self._chunk(piece, (), (), (), whole)
        tops = whole.top_logprobs[-1:]
        return self._chunk(piece, (token,), whole.logprobs[-1:], tops, whole)

    def _chunk(
        self,
        text: str,
        tokens: tuple[int, ...],
        logprobs: tuple[float, ...],
        tops: tuple[Top, ...],
        whole: Completion | None = None,
    ) -> Chunk:
        scores = None
        if not self._told_prompt:
            scores, self._told_prompt = self.prompt_scores, True
        return Chunk(
            text=text,
            token_ids=tokens,
            completion=whole,
            index=self.index,
            logprobs=logprobs,
            top_logprobs=tops,
            prompt_logprobs=None if scores is None else tuple(scores),
            cached=self.cached,
        )


def common_prefix(first: Any, second: Any) -> int:
    """Return how many tokens two arrays of ids begin with alike."""
    size = min(len(first), len(second))
    differs = np.flatnonzero(first[:size] != second[:size])
    return int(differs[0]) if len(differs) else size
