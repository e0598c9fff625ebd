"""Errors as OpenAI's API tells them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse

from swiftrl.core.errors import (
    ConfigError,
    DataError,
    EngineError,
    MachineError,
    ModelError,
    SwiftRLError,
    TemplateError,
)

__all__ = ["Problem", "problem_of"]

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
}


class Problem(Exception):
    """What is told to a client.

    Args:
        status: of HTTP.
        message: for people.
        param: the field that is wrong.
        code: for programs.
        headers: sent beside.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code
        self.headers = dict(headers or {})

    def body(self) -> dict[str, Any]:
        """Return what OpenAI's clients read."""
        kind = _TYPES.get(self.status, "server_error" if self.status >= 500 else None)
        return {
            "error": {
                "message": self.message,
                "type": kind or "invalid_request_error",
                "param": self.param,
                "code": self.code,
            }
        }

    def response(self) -> JSONResponse:
        """Return it as an answer."""
        return JSONResponse(self.body(), self.status, headers=self.headers)


def problem_of(error: SwiftRLError) -> Problem:
    """Return what a client is told of an error of ours."""
    if isinstance(error, MachineError):
        return Problem(503, str(error), code="overloaded", headers={"Retry-After": "5"})
    asked = (EngineError, TemplateError, ConfigError, DataError, ModelError)
    if isinstance(error, asked) and "the model failed" not in str(error):
        long = "leaves no room" in str(error)
        return Problem(400, str(error), code="context_length_exceeded" if long else None)
    return Problem(500, str(error))
