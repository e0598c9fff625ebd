"""Chunks from the engine's thread to coroutines."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator

from swiftrl.deploy.problems import Problem, problem_of
from swiftrl.engine.base import Chunk, LiveEngine, Request

__all__ = ["Hub", "answered"]


class Hub:
    """Wakes coroutines whose chunks have come; many chunks of a step cost one wake-up.

    Args:
        loop: where the coroutines run.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._ready: deque[asyncio.Event] = deque()
        self._called = False

    def wake(self, event: asyncio.Event) -> None:
        """Set an event from another thread."""
        self._ready.append(event)
        if not self._called:
            self._called = True
            self._loop.call_soon_threadsafe(self._wake_all)

    def _wake_all(self) -> None:
        self._called = False
        while self._ready:
            self._ready.popleft().set()


async def answered(
    engine: LiveEngine, hub: Hub, request: Request, timeout_s: float
) -> AsyncIterator[Chunk]:
    """Yield the chunks of a request; leaving early aborts it.

    Raises:
        Problem: it cannot be answered, failed, or took too long.
    """
    items: deque[Chunk] = deque()
    event = asyncio.Event()

    def deliver(chunk: Chunk) -> None:
        items.append(chunk)
        hub.wake(event)

    # Checking a request may compile a grammar, which takes a while.
    ticket = await asyncio.get_running_loop().run_in_executor(None, engine.submit, request, deliver)
    until, left = time.monotonic() + timeout_s, request.n
    try:
        while left:
            try:
                await asyncio.wait_for(event.wait(), until - time.monotonic())
            except asyncio.TimeoutError:
                raise Problem(
                    408, f"the request took longer than {timeout_s:g} seconds.", code="timeout"
                ) from None
            event.clear()
            while items:
                chunk = items.popleft()
                if chunk.error is not None:
                    raise problem_of(chunk.error)
                left -= chunk.completion is not None
                yield chunk
    finally:
        ticket.abort()
