"""A row's media sources as bytes, for stores on disk: the sources, never pixels."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any

from swiftrl.core.messages import Part

__all__ = ["from_bytes", "to_bytes"]


def to_bytes(parts: Sequence[Part]) -> bytes:
    """Return media as JSON; nothing for none."""
    if not parts:
        return b""
    items: list[Any] = []
    for part in parts:
        raw = isinstance(part.source, bytes)
        source = base64.b64encode(part.source).decode("ascii") if raw else part.source  # type: ignore[arg-type]
        items.append([part.kind, source, raw])
    return json.dumps(items, ensure_ascii=False).encode()


def from_bytes(data: bytes) -> tuple[Part, ...]:
    """Return what `to_bytes` was given."""
    if not data:
        return ()
    return tuple(
        Part(kind, source=base64.b64decode(source) if raw else source)
        for kind, source, raw in json.loads(data)
    )
