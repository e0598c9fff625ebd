"""A JSON line for each request, without what it says; and errors that nobody foresaw."""

from __future__ import annotations

import json
import sys
import time
import traceback
import uuid

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from swiftrl.deploy.metrics import Metrics
from swiftrl.deploy.problems import Problem

__all__ = ["AccessLog"]


class AccessLog:
    """Counts requests, and writes a line for each.

    Args:
        app: what answers them.
        metrics: takes the counts.
        written: whether lines are written.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, *, written: bool) -> None:
        self._app, self._metrics, self._written = app, metrics, written

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on and note what came of it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status, number = time.monotonic(), 0, uuid.uuid4().hex

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", number.encode())]
            await send(message)

        try:
            await self._app(scope, receive, noted)
        except Exception as error:  # noqa: BLE001 - the client is told, the operator too
            sys.stderr.write(traceback.format_exc())
            if not status:
                problem = Problem(500, f"{type(error).__name__} in the server; see its log.")
                await problem.response()(scope, receive, noted)
        finally:
            self._note(scope, status or 499, number, time.monotonic() - began)

    def _note(self, scope: Scope, status: int, number: str, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "(none)")
        self._metrics.requests.labels(route, str(status)).inc()
        self._metrics.seconds.labels(route).observe(seconds)
        if not self._written or route in ("/health", "/ready", "/ping", "/metrics"):
            return
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "id": number,
            "client": (scope.get("client") or ("",))[0],
            "method": scope["method"],
            "route": route,
            "status": status,
            "seconds": round(seconds, 4),
            **scope.get("swiftrl.usage", {}),
        }
        sys.stderr.write(json.dumps(line) + "\n")
        sys.stderr.flush()
