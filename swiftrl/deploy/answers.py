"""From a prepared request to an answer: JSON or a stream of events, ended if the client goes."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Protocol, TypeVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from swiftrl.core.errors import SwiftRLError
from swiftrl.deploy.problems import Problem, problem_of
from swiftrl.deploy.service import Service

__all__ = ["Answer", "answer", "in_thread"]

Result = TypeVar("Result")


class Answer(Protocol):
    """A request ready to be answered in one of two ways."""

    id: str

    async def whole(self) -> dict[str, Any]:
        """Return the answer."""
        ...

    def events(self) -> AsyncIterator[dict[str, Any]]:
        """Yield stream events."""
        ...

    def usage(self) -> dict[str, Any]:
        """Return how many tokens were read and written so far."""
        ...


async def in_thread(work: Callable[[], Result]) -> Result:
    """Return what `work` gives, done in a thread so that others are served meanwhile."""
    return await asyncio.get_running_loop().run_in_executor(None, work)


async def answer(
    service: Service,
    request: Request,
    made: Answer,
    *,
    replies: int,
    streamed: bool,
    named: bool = False,
) -> Response:
    """Answer a request.

    Args:
        service: answers it.
        request: HTTP's.
        made: what to answer.
        replies: that it takes.
        streamed: as stream events.
        named: events carry their type as a name, and no [DONE] ends them (OpenAI's responses).
    """
    place = service.place(replies)
    place.__enter__()
    began = time.monotonic()

    def done() -> None:
        place.__exit__(None, None, None)
        _count(service, request, made.usage())

    if not streamed:
        try:
            return JSONResponse(await _unless_gone(request, made.whole()))
        finally:
            done()
    try:
        events = made.events()
        # Errors until the first token are answers of their own, with their status.
        first = await _unless_gone(request, _next(events))
    except BaseException:
        done()
        raise
    service.metrics.first_token.observe(time.monotonic() - began)
    return StreamingResponse(
        _lines(first, events, done, named=named),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"},
    )


async def _next(events: AsyncIterator[dict[str, Any]]) -> dict[str, Any]:
    return await events.__anext__()


async def _lines(
    first: dict[str, Any],
    events: AsyncIterator[dict[str, Any]],
    done: Callable[[], None],
    *,
    named: bool,
) -> AsyncIterator[str]:
    try:
        yield _line(first, named)
        async for event in events:
            yield _line(event, named)
    except (Problem, SwiftRLError) as error:
        problem = problem_of(error) if isinstance(error, SwiftRLError) else error
        yield _line(problem.body() | ({"type": "error"} if named else {}), named)
    finally:
        await events.aclose()  # type: ignore[attr-defined]
        done()
    if not named:
        yield "data: [DONE]\n\n"


def _line(event: dict[str, Any], named: bool) -> str:
    text = json.dumps(event, ensure_ascii=False, separators=(",", ":"))
    name = f"event: {event['type']}\n" if named else ""
    return f"{name}data: {text}\n\n"


async def _unless_gone(request: Request, work: Awaitable[Result]) -> Result:
    """Return what `work` gives; give it up if the client goes.

    Raises:
        Problem: it has gone.
    """
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise Problem(499, "the client has gone.")
        return task.result()
    finally:
        gone.cancel()
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _count(service: Service, request: Request, usage: dict[str, Any]) -> None:
    read, written = usage["prompt_tokens"], usage.get("completion_tokens", 0)
    service.metrics.prompt_tokens.inc(read)
    service.metrics.reply_tokens.inc(written)
    request.scope["swiftrl.usage"] = {"prompt_tokens": read, "completion_tokens": written}
