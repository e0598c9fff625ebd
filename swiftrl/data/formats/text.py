"""Plain documents for pre-training: `text`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from swiftrl.data.draft import Draft, RowFormat, as_text


def detect(values: Mapping[str, Any]) -> int:
    """A `text` column."""
    return 5 if "text" in values else 0


def convert(values: Mapping[str, Any]) -> Draft:
    """Read one document."""
    return Draft([], text=as_text(values["text"], "text"), prompt_columns=frozenset(("text",)))


FORMAT = RowFormat(detect, convert, "text")
