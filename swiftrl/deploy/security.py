"""Who may ask: API keys, compared without telling by time how much of one was right."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence

from starlette.types import ASGIApp, Receive, Scope, Send

from swiftrl.deploy.problems import Problem

__all__ = ["OPEN_PATHS", "Keys"]

OPEN_PATHS = ("/health", "/ready", "/ping")
"""Routes that need no key: they say nothing but whether the server is there."""


class Keys:
    """Lets requests through that bring a key.

    Args:
        app: what is guarded.
        keys: of which one must be brought; none lets everybody through.
    """

    def __init__(self, app: ASGIApp, keys: Sequence[str]) -> None:
        self._app = app
        self._digests = [hashlib.sha256(key.encode()).digest() for key in keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 401 or pass the request on."""
        guarded = scope["type"] == "http" and self._digests and scope["path"] not in OPEN_PATHS
        if guarded and not self._known(dict(scope["headers"])):
            problem = Problem(
                401, "Incorrect API key provided; send Authorization: Bearer KEY.",
                code="invalid_api_key", headers={"WWW-Authenticate": "Bearer"},
            )  # fmt: skip
            await problem.response()(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _known(self, headers: dict[bytes, bytes]) -> bool:
        scheme, _, key = headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() != b"bearer":
            key = headers.get(b"x-api-key", b"")
        digest = hashlib.sha256(key.strip()).digest()
        # All are compared, whichever fits.
        return sum(hmac.compare_digest(digest, own) for own in self._digests) > 0
