"""Calls rewards in threads, with a time limit that needs no signals and so no main thread.

A thread cannot be stopped from outside. One that hangs is left behind when the run stops; as it
is a daemon it does not keep the process alive.
"""

from __future__ import annotations

import asyncio
import inspect
import queue
import threading
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swiftrl.core.errors import RewardError
from swiftrl.rlhf.rewards.reward import Reward

__all__ = ["Call", "CallFailed", "call_all", "raised", "title"]


@dataclass(frozen=True, slots=True)
class Call:
    """A reward and what it is called with."""

    reward: Reward
    arguments: Mapping[str, Any]


class CallFailed(Exception):
    """A reward raised; `__cause__` is what it raised."""

    def __init__(self, call: Call) -> None:
        super().__init__(call.reward.name)
        self.call = call


Report = Callable[[int, Any, "BaseException | None"], None]


def call_all(calls: Sequence[Call], timeout_s: float) -> list[Any]:
    """Return what each reward returned, all of them called at the same time.

    Plain functions get a thread each; async ones share an event loop in one more.

    Raises:
        CallFailed: one raised; the first to do so counts.
        RewardError: some have not returned after `timeout_s` seconds.
    """
    reports: queue.SimpleQueue[tuple[int, Any, BaseException | None]] = queue.SimpleQueue()

    def report(index: int, value: Any, error: BaseException | None) -> None:
        reports.put((index, value, error))

    together = [i for i, call in enumerate(calls) if _is_async(call.reward.function)]
    lanes: list[Callable[[], None]] = [
        lambda i=i, call=call: _call(i, call, report)
        for i, call in enumerate(calls)
        if i not in together
    ]
    if together:
        lanes.append(lambda: asyncio.run(_call_together(together, calls, report, timeout_s)))
    for lane in lanes:
        threading.Thread(target=lane, name="swiftrl-reward", daemon=True).start()
    deadline = time.monotonic() + timeout_s
    returned: dict[int, Any] = {}
    while len(returned) < len(calls):
        try:
            index, value, error = reports.get(timeout=max(deadline - time.monotonic(), 0.0))
        except queue.Empty:
            raise _hung([c for i, c in enumerate(calls) if i not in returned], timeout_s) from None
        if error is not None:
            raise CallFailed(calls[index]) from error
        returned[index] = value
    return [returned[index] for index in range(len(calls))]


def title(reward: Reward) -> str:
    """Return how messages call a reward."""
    place = f" ({reward.source})" if reward.source not in ("", reward.name) else ""
    return f"reward {reward.name!r}{place}"


def raised(error: BaseException, file: str = "") -> str:
    """Return "ValueError: text (file.py:12)": the last line of `file`, or else of any code."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if file and Path(frame.filename) == Path(file)]
    place = "".join(f" ({f.filename}:{f.lineno})" for f in (own or frames)[-1:])
    text = str(error)
    return f"{type(error).__name__}{': ' if text else ''}{text}{place}"


def _is_async(function: object) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 - an object's own method is meant
    )


def _call(index: int, call: Call, report: Report) -> None:
    try:
        value = call.reward.function(**call.arguments)
        if inspect.isawaitable(value):
            value = asyncio.run(_awaited(value))
    except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
        report(index, None, error)
    else:
        report(index, value, None)


async def _awaited(value: Awaitable[Any]) -> Any:
    return await value


async def _call_together(
    indices: Sequence[int], calls: Sequence[Call], report: Report, timeout_s: float
) -> None:
    tasks = [asyncio.create_task(_call_async(i, calls[i], report)) for i in indices]
    # The caller's deadline is the same and was set a moment before: this only cleans up.
    _, unfinished = await asyncio.wait(tasks, timeout=timeout_s)
    for task in unfinished:
        task.cancel()


async def _call_async(index: int, call: Call, report: Report) -> None:
    try:
        value: Any = call.reward.function(**call.arguments)
        value = await value
    except asyncio.CancelledError:
        raise
    except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
        report(index, None, error)
    else:
        report(index, value, None)


def _hung(calls: Sequence[Call], timeout_s: float) -> RewardError:
    names = ", ".join(title(call.reward) for call in calls)
    count = len(calls[0].arguments.get("completions", ()))
    return RewardError(
        f"{names}: no result for {count} completions after {timeout_s:g} s (--reward_timeout). "
        "Give what it waits for (a server, a process) a time limit of its own and return None "
        "for what cannot be scored, or raise --reward_timeout."
    )
