"""POST /v1/chat/completions."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from swiftrl.deploy.conversation import conversation_of, tools_of
from swiftrl.deploy.forced import call_grammar, format_grammar, wanted_tools
from swiftrl.deploy.mailbox import answered
from swiftrl.deploy.problems import Problem
from swiftrl.deploy.schemas import ChatBody
from swiftrl.deploy.service import Service
from swiftrl.engine.base import Chunk, Request
from swiftrl.templates.parsing.events import (
    CallBroken,
    CallDelta,
    CallEnd,
    CallStart,
    ContentDelta,
    Event,
    ReasoningDelta,
)
from swiftrl.templates.stream import StreamParser

__all__ = ["Chat", "prepare_chat"]


@dataclass
class _Choice:
    """One reply while it grows."""

    parser: StreamParser
    tokens: list[dict[str, Any]] = field(default_factory=list)
    count: int = 0
    thought: int = 0
    thinking: bool = False
    called: bool = False
    begun: bool = False
    reason: str | None = None
    ids: dict[int, str] = field(default_factory=dict)
    told: dict[int, int] = field(default_factory=dict)


class Chat:
    """A request for chat completions, ready to be answered.

    Args:
        service: answers it.
        body: its fields.
        request: for the engine.
        tools: on offer.
    """

    def __init__(
        self, service: Service, body: ChatBody, request: Request, tools: Sequence[dict[str, Any]]
    ) -> None:
        self._service, self._body, self.request = service, body, request
        self.id = f"chatcmpl-{uuid.uuid4().hex}"
        self._created = int(time.time())
        self._model = body.model or service.names[0]
        self._prefix = service.template.options.response_prefix
        self._choices = [_Choice(service.template.parser(request.prompt, tools))
                         for _ in range(request.n)]  # fmt: skip
        self._cached = 0

    async def whole(self) -> dict[str, Any]:
        """Return the answer."""
        async for chunk in self._chunks():
            self._take(chunk)
        return {
            "id": self.id,
            "object": "chat.completion",
            "created": self._created,
            "model": self._model,
            "choices": [self._told(i, choice) for i, choice in enumerate(self._choices)],
            "usage": self.usage(),
        }

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        """Yield the answer's stream events."""
        options = self._body.stream_options
        with_usage = bool(options and options.include_usage)
        async for chunk in self._chunks():
            choice = self._choices[chunk.index]
            if not choice.begun:
                choice.begun = True
                yield self._event(chunk.index, {"role": "assistant", "content": ""}, with_usage)
            for delta in self._deltas(choice, self._take(chunk)):
                yield self._event(chunk.index, delta, with_usage, choice)
            if chunk.completion is not None:
                yield self._event(chunk.index, {}, with_usage, choice, choice.reason)
        if with_usage:
            yield {**self._frame(), "choices": [], "usage": self.usage()}

    def usage(self) -> dict[str, Any]:
        """Return how many tokens were read and written."""
        prompt = len(self.request.prompt)
        written = sum(choice.count for choice in self._choices)
        return {
            "prompt_tokens": prompt,
            "completion_tokens": written,
            "total_tokens": prompt + written,
            "prompt_tokens_details": {"cached_tokens": self._cached, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": sum(choice.thought for choice in self._choices),
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        }

    def _chunks(self) -> AsyncIterator[Chunk]:
        service = self._service
        assert service.hub is not None
        return answered(service.engine, service.hub, self.request, service.config.request_timeout_s)

    def _take(self, chunk: Chunk) -> list[Event]:
        """Take more of a reply and return what has become certain."""
        choice = self._choices[chunk.index]
        if chunk.index == 0 and not choice.count:
            self._cached = chunk.cached
        events: list[Event] = []
        if not choice.count and self._prefix:
            events += choice.parser.feed(self._prefix)
        choice.count += len(chunk.token_ids)
        events += choice.parser.feed(chunk.text)
        if chunk.completion is not None:
            events += choice.parser.finish()
        for event in events:
            choice.thinking = isinstance(event, ReasoningDelta)
            choice.called = choice.called or isinstance(event, CallEnd)
        if choice.thinking:
            choice.thought = choice.count
        if self._body.logprobs:
            choice.tokens += self._entries(chunk)
        if chunk.completion is not None:
            ended = chunk.completion.finish_reason
            choice.reason = "tool_calls" if choice.called and ended == "stop" else ended
        return events

    def _entries(self, chunk: Chunk) -> list[dict[str, Any]]:
        """Return the log-probabilities of a chunk's tokens, apart from one that ended the reply."""
        shown = len(chunk.token_ids)
        if chunk.completion is not None and shown:
            shown -= chunk.token_ids[-1] in self._service.template.stop_token_ids
        return self._service.tokens.entries(
            chunk.token_ids[:shown], chunk.logprobs[:shown], chunk.top_logprobs[:shown]
        )

    def _deltas(self, choice: _Choice, events: Sequence[Event]) -> list[dict[str, Any]]:
        """Return what stream events say of a reply."""
        found: list[dict[str, Any]] = []
        for event in events:
            if isinstance(event, ContentDelta):
                found.append({"content": event.text})
            elif isinstance(event, ReasoningDelta):
                found.append({"reasoning_content": event.text})
            elif isinstance(event, CallBroken):
                found.append({"content": event.text})
            else:
                found += self._call_deltas(choice, event)
        return found

    def _call_deltas(
        self, choice: _Choice, event: CallStart | CallDelta | CallEnd
    ) -> list[dict[str, Any]]:
        if self._body.parallel_tool_calls is False and event.index:
            return []
        if isinstance(event, CallStart):
            choice.ids[event.index] = event.id or f"call_{uuid.uuid4().hex[:24]}"
            function = {"name": event.name, "arguments": ""}
            call = {"id": choice.ids[event.index], "type": "function", "function": function}
            return [{"tool_calls": [{"index": event.index, **call}]}]
        if isinstance(event, CallDelta):
            choice.told[event.index] = choice.told.get(event.index, 0) + len(event.text)
            text = event.text
        elif choice.told.get(event.index):
            return []
        else:  # a syntax whose arguments come all at once
            text = _arguments(event.call.arguments)
        return [{"tool_calls": [{"index": event.index, "function": {"arguments": text}}]}]

    def _frame(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self._created,
            "model": self._model,
        }

    def _event(
        self,
        index: int,
        delta: dict[str, Any],
        with_usage: bool,
        choice: _Choice | None = None,
        reason: str | None = None,
    ) -> dict[str, Any]:
        told: dict[str, Any] = {"index": index, "delta": delta, "finish_reason": reason}
        told["logprobs"] = None
        if choice is not None and self._body.logprobs and choice.tokens:
            told["logprobs"] = {"content": choice.tokens, "refusal": None}
            choice.tokens = []
        event = {**self._frame(), "choices": [told]}
        return {**event, "usage": None} if with_usage else event

    def _told(self, index: int, choice: _Choice) -> dict[str, Any]:
        """Return a whole reply."""
        reply = choice.parser.reply
        message: dict[str, Any] = {
            "role": "assistant",
            "content": reply.content or (None if reply.calls else ""),
            "refusal": None,
        }
        if reply.reasoning is not None:
            message["reasoning_content"] = reply.reasoning
        calls = reply.calls
        if self._body.parallel_tool_calls is False:
            calls = calls[:1]
        if calls:
            message["tool_calls"] = [
                {
                    "id": call.id or f"call_{uuid.uuid4().hex[:24]}",
                    "type": "function",
                    "function": {"name": call.name, "arguments": _arguments(call.arguments)},
                }
                for call in calls
            ]
        logprobs = {"content": choice.tokens, "refusal": None} if self._body.logprobs else None
        return {
            "index": index,
            "message": message,
            "logprobs": logprobs,
            "finish_reason": choice.reason,
        }


def _arguments(given: Any) -> str:
    return given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)


def prepare_chat(service: Service, body: ChatBody) -> Chat:
    """Return a request ready to be answered.

    Raises:
        Problem, SwiftRLError: it cannot be.
    """
    if body.stream_options is not None and not body.stream:
        raise Problem(400, "'stream_options' needs 'stream' true.", param="stream_options")
    if body.top_logprobs is not None and not body.logprobs:
        raise Problem(400, "'top_logprobs' needs 'logprobs' true.", param="top_logprobs")
    if body.chat_template_kwargs:
        raise Problem(
            400, "'chat_template_kwargs' are the server's: --chat_template_kwargs.",
            param="chat_template_kwargs",
        )  # fmt: skip
    adapter = service.adapter(body.model)
    tools = tools_of(body.tools)
    wanted, forced = wanted_tools(body.tool_choice, tools)
    shown = [] if body.tool_choice == "none" else tools
    conversation = conversation_of(body.messages, shown, service.config.media_hosts)
    grammar = format_grammar(body.response_format)
    if forced:
        grammar = call_grammar(service.template, wanted)
    prompt = service.template.encode_prompt(conversation)
    # Before pictures are read, and before the engine is asked.
    service.engine.check_prompt(prompt)
    limit = body.max_completion_tokens if body.max_completion_tokens else body.max_tokens
    sampling = service.sampling(
        body, max_tokens=limit or None, top_logprobs=body.top_logprobs or 0, grammar=grammar
    )
    request = Request(
        prompt,
        sampling,
        n=body.n or 1,
        adapter=adapter,
        media=service.template.media_tensors(conversation),
        streamed=bool(body.stream),
    )
    return Chat(service, body, request, shown)
