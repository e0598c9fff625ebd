"""TRL's stepwise supervision: `prompt`, the steps as `completions`, and their `labels`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from swiftrl.data.draft import Draft, RowFormat
from swiftrl.data.formats.prompt_completion import prompt_draft

_STEPS = frozenset(("completions", "labels"))


def detect(values: Mapping[str, Any]) -> int:
    """A `prompt` and a list of `completions`."""
    return 30 if "prompt" in values and isinstance(values.get("completions"), list) else 0


def convert(values: Mapping[str, Any]) -> Draft:
    """Read one row: the draft holds the prompt alone."""
    draft = prompt_draft(values, "prompt", ())
    return Draft(draft.messages, 0, None, None, draft.prompt_columns, _STEPS)


FORMAT = RowFormat(detect, convert, "prompt, completions [labels, system]")
