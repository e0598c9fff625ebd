"""Requests' bodies: read within bounds, taken apart, checked."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.requests import ClientDisconnect, Request

from swiftrl.deploy.problems import Problem

__all__ = ["Body", "checked", "read_json"]

_DEEPEST = 64
_READ_S = 60.0
"""Seconds in which a body must have arrived."""

Model = TypeVar("Model", bound=BaseModel)


class Body(BaseModel):
    """A request's fields; others than these are refused by name."""

    model_config = ConfigDict(strict=True, extra="forbid", protected_namespaces=())


async def read_json(request: Request, most_bytes: int) -> dict[str, Any]:
    """Return a request's JSON object.

    Raises:
        Problem: it is too large, too slow, or no JSON object.
    """
    declared = request.headers.get("content-length", "0")
    if declared.isdigit() and int(declared) > most_bytes:
        raise _too_large(most_bytes)
    data, until = bytearray(), time.monotonic() + _READ_S
    stream = request.stream().__aiter__()
    while True:
        try:
            piece = await asyncio.wait_for(stream.__anext__(), until - time.monotonic())
        except StopAsyncIteration:
            break
        except asyncio.TimeoutError:
            raise Problem(408, "the request took too long to arrive.") from None
        except ClientDisconnect:
            raise Problem(499, "the client has gone.") from None
        data += piece
        if len(data) > most_bytes:
            raise _too_large(most_bytes)
    return _parsed(bytes(data))


def _too_large(most_bytes: int) -> Problem:
    return Problem(
        413, f"the request is larger than {most_bytes} bytes.", code="request_too_large",
        headers={"Connection": "close"},
    )  # fmt: skip


def _parsed(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data.decode("utf-8"), parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else error
        raise Problem(400, f"the body is not JSON: {reason}") from None
    if not isinstance(value, dict):
        raise Problem(400, f"the body must be a JSON object, not {type(value).__name__}.")
    if _depth(value) > _DEEPEST:
        raise Problem(400, f"the body is nested more than {_DEEPEST} deep.")
    if b"\\u" in data:
        _check_text(value)
    return value


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


def _depth(value: Any) -> int:
    level, depth = [value], 0
    while level and depth <= _DEEPEST:
        depth += 1
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, (dict, list))
        ]
    return depth


def _check_text(value: Any) -> None:
    """Refuse halves of surrogate pairs, which are no characters."""
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise Problem(400, "the body holds half a surrogate pair, which is no text.") from None


def checked(kind: type[Model], value: dict[str, Any]) -> Model:
    """Return a body's fields.

    Raises:
        Problem: one is unknown, missing, of a wrong type or out of range.
    """
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"] if not _is_branch(part))
        if first["type"] == "extra_forbidden":
            raise Problem(
                400, f"Unrecognized request argument supplied: {place}", param=place,
                code="unknown_parameter",
            ) from None  # fmt: skip
        missing = first["type"] == "missing"
        raise Problem(
            400,
            f"Missing required parameter: '{place}'." if missing else f"'{place}': {first['msg']}.",
            param=place,
            code="missing_required_parameter" if missing else "invalid_value",
        ) from None


def _is_branch(part: Any) -> bool:
    """Return whether a part of a place names a branch of a union rather than a field."""
    return isinstance(part, str) and any(letter in part for letter in "[(,")
