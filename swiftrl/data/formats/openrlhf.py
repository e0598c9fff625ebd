"""OpenRLHF's default names: `input` with `output`, or with the `label` that a reward needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from swiftrl.data.draft import Draft, RowFormat
from swiftrl.data.formats.prompt_completion import prompt_draft


def detect(values: Mapping[str, Any]) -> int:
    """An `input` column with no `instruction` beside it."""
    return 10 if "input" in values and "instruction" not in values else 0


def convert(values: Mapping[str, Any]) -> Draft:
    """Read one row; `input` is text or a list of messages."""
    return prompt_draft(values, "input", ("output", "response"))


FORMAT = RowFormat(detect, convert, "input [output, label, system]")
