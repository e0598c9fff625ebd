"""POST /v1/completions: plain text or tokens go on."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from typing import Any

from swiftrl.deploy.mailbox import answered
from swiftrl.deploy.problems import Problem
from swiftrl.deploy.schemas import CompletionBody
from swiftrl.deploy.service import Service
from swiftrl.engine.base import Chunk, Request, Top

__all__ = ["Completions", "prepare_completions"]


class Completions:
    """A request for completions, ready to be answered.

    Args:
        service: answers it.
        body: its fields.
        requests: one a prompt.
    """

    def __init__(self, service: Service, body: CompletionBody, requests: Sequence[Request]) -> None:
        self._service, self._body, self.requests = service, body, requests
        self.id = f"cmpl-{uuid.uuid4().hex}"
        self._created = int(time.time())
        self._model = body.model or service.names[0]
        self._written = 0
        self._offsets: dict[int, int] = {}

    async def whole(self) -> dict[str, Any]:
        """Return the answer."""
        gathered = await asyncio.gather(*[self._collect(at) for at in range(len(self.requests))])
        return {
            **self._frame(),
            "choices": [choice for choices in gathered for choice in choices],
            "usage": self.usage(),
        }

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        """Yield the answer's stream events."""
        options = self._body.stream_options
        for at, request in enumerate(self.requests):
            async for chunk in self._chunks(request):
                first = at * request.n + chunk.index not in self._offsets
                yield {**self._frame(), "choices": [self._choice(at, chunk, first=first)]}
        if options and options.include_usage:
            yield {**self._frame(), "choices": [], "usage": self.usage()}

    def usage(self) -> dict[str, Any]:
        """Return how many tokens were read and written."""
        prompt = sum(len(request.prompt) for request in self.requests)
        return {
            "prompt_tokens": prompt,
            "completion_tokens": self._written,
            "total_tokens": prompt + self._written,
        }

    async def _collect(self, at: int) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = [{}] * self.requests[at].n
        async for chunk in self._chunks(self.requests[at]):
            found[chunk.index] = self._choice(at, chunk, first=True)
        return found

    def _chunks(self, request: Request) -> AsyncIterator[Chunk]:
        service = self._service
        assert service.hub is not None
        return answered(service.engine, service.hub, request, service.config.request_timeout_s)

    def _frame(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": "text_completion",
            "created": self._created,
            "model": self._model,
        }

    def _choice(self, at: int, chunk: Chunk, *, first: bool) -> dict[str, Any]:
        request = self.requests[at]
        index = at * request.n + chunk.index
        nothing = self._body.max_tokens == 0
        tokens = () if nothing else chunk.token_ids
        self._written += len(tokens)
        whole = chunk.completion
        echo = bool(self._body.echo and first)
        text = "" if nothing else chunk.text
        if echo:
            text = self._service.template.decode(request.prompt) + text
        told: dict[str, Any] = {
            "index": index,
            "text": text,
            "logprobs": None,
            "finish_reason": None,
        }
        if whole is not None:
            told["finish_reason"] = "length" if nothing else whole.finish_reason
        if self._body.logprobs is not None:
            told["logprobs"] = self._logprobs(request, chunk, tokens, index, echo)
        if self._body.return_token_ids:
            told["token_ids"] = list(tokens)
        self._offsets.setdefault(index, 0)
        return told

    def _logprobs(
        self, request: Request, chunk: Chunk, tokens: Sequence[int], index: int, echo: bool
    ) -> dict[str, Any]:
        text = self._service.tokens.text
        entries: list[tuple[int, float | None, Top]] = []
        if echo:
            scores = [(None, ()), *(chunk.prompt_logprobs or ())]
            entries += [(t, *score) for t, score in zip(request.prompt, scores, strict=True)]
        tops = chunk.top_logprobs or ((),) * len(tokens)
        entries += list(zip(tokens, chunk.logprobs, tops, strict=False))
        offsets, at = [], self._offsets.get(index, 0)
        for token, _, _ in entries:
            offsets.append(at)
            at += len(text(token))
        self._offsets[index] = at
        return {
            "tokens": [text(token) for token, _, _ in entries],
            "token_logprobs": [logprob for _, logprob, _ in entries],
            "top_logprobs": [
                None if logprob is None else {text(t): value for t, value in top}
                for _, logprob, top in entries
            ],
            "text_offset": offsets,
        }


def prepare_completions(service: Service, body: CompletionBody) -> Completions:
    """Return a request ready to be answered.

    Raises:
        Problem, SwiftRLError: it cannot be.
    """
    if body.stream_options is not None and not body.stream:
        raise Problem(400, "'stream_options' needs 'stream' true.", param="stream_options")
    adapter = service.adapter(body.model)
    prompts = _prompts(service, body)
    # OpenAI's default is 16 here.
    most = 16 if body.max_tokens is None else max(body.max_tokens, 1)
    sampling = service.sampling(body, max_tokens=most, top_logprobs=body.logprobs or 0)
    scored = body.echo and body.logprobs is not None
    requests = []
    for number, prompt in enumerate(prompts):
        service.engine.check_prompt(prompt)
        requests.append(
            Request(
                prompt,
                sampling,
                n=body.n or 1,
                adapter=adapter,
                number=number,
                streamed=bool(body.stream),
                prompt_logprobs=body.logprobs if scored else None,
            )
        )
    return Completions(service, body, requests)


def _prompts(service: Service, body: CompletionBody) -> list[list[int]]:
    given: Any = body.prompt
    if isinstance(given, str):
        given = [given]
    if not given:
        raise Problem(400, "'prompt': expected at least one.", param="prompt")
    if isinstance(given[0], int):
        given = [given]
    if len(given) > 1024:
        raise Problem(400, "'prompt': at most 1024 prompts.", param="prompt")
    special = body.add_special_tokens is not False
    tokenizer = service.template.tokenizer
    return [
        list(tokenizer(one, add_special_tokens=special)["input_ids"])
        if isinstance(one, str)
        else list(one)
        for one in given
    ]
