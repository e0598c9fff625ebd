"""Tokens at which a reply ends."""

from __future__ import annotations

from typing import Any

from swiftrl.templates.probe import Probe, control_units
from swiftrl.templates.source import TemplateOptions

__all__ = ["stop_token_ids"]


def stop_token_ids(tokenizer: Any, probe: Probe, options: TemplateOptions) -> tuple[int, ...]:
    """Return EOS, the family's stop tokens and what the template ends a turn with."""
    eos = tokenizer.eos_token_id
    found = [] if eos is None else [eos]
    ends = [control_units(text)[-1:] for text in probe.terminators]
    for text in (*options.stop_tokens, *(units[0] for units in ends if units)):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        if len(ids) == 1:
            found.append(ids[0])
    return tuple(dict.fromkeys(found))
