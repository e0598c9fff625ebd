"""Sequences as people look at them: tokens in colour, or as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any

from swiftrl.templates.encoding import Encoded
from swiftrl.templates.template import Template

__all__ = ["coloured", "describe", "json_view", "plain", "token_texts"]

_WINDOW = 32  # tokens decoded together where one alone does not say its text
_TRAINED, _SCALED, _GIVEN, _RESET = "\x1b[32m", "\x1b[33m", "\x1b[90m", "\x1b[0m"


def token_texts(template: Template, encoded: Encoded) -> list[str]:
    """Return each token's text; a character spread over several tokens stands at its last.

    The texts joined are the sequence decoded.
    """
    ids = [int(token) for token in encoded.token_ids]
    alone = [template.decode([token]) for token in ids]
    if "".join(alone) == template.decode(ids):
        return alone
    texts, done, start, clean = [], "", 0, True
    for count in range(1, len(ids) + 1):
        text = template.decode(ids[start:count])
        # A decoder writes U+FFFD for the first bytes of a character whose others follow.
        settled = text if count == len(ids) else text.rstrip("\ufffd")
        grown = settled.startswith(done)
        texts.append(settled[len(done) :] if grown else "")
        done = settled if grown else done
        was_clean, clean = clean, grown and settled == text
        if clean and was_clean and count - start > _WINDOW:
            start, done = count - 1, template.decode(ids[count - 1 : count])
    return texts


def coloured(template: Template, encoded: Encoded) -> str:
    """Return terminal text: green trains, yellow trains with another weight, grey is given."""
    parts = []
    for weight, text in _runs(template, encoded):
        colour = _GIVEN if weight == 0 else _TRAINED if weight == 1 else _SCALED
        # Line by line, so that pagers keep the colour.
        lines = text.split("\n")
        parts.append("\n".join(f"{colour}{line}{_RESET}" if line else "" for line in lines))
    return "".join(parts)


def plain(template: Template, encoded: Encoded) -> str:
    """Return text for files and pipes, with what trains between double angle quotes."""
    return "".join(
        text if weight == 0 else f"\u00ab{text}\u00bb" for weight, text in _runs(template, encoded)
    )


def json_view(template: Template, encoded: Encoded) -> dict[str, Any]:
    """Return a sequence as plain data: every token with its id, text and weight."""
    weights = [float(weight) for weight in encoded.loss_weights]
    tokens = [
        {"id": int(token), "text": text, "weight": weight}
        for token, text, weight in zip(
            encoded.token_ids, token_texts(template, encoded), weights, strict=True
        )
    ]
    return {
        "length": len(tokens),
        "trained": encoded.num_trained,
        "truncated": encoded.truncated,
        "skipped_turns": encoded.skipped_turns,
        "tokens": tokens,
    }


def describe(template: Template) -> dict[str, Any]:
    """Return what the probe found, as plain data."""
    probe, writing = template.probe, template.probe.forms.writing
    return {
        "template": template.renderer.name,
        "content": dict.fromkeys(sorted(probe.forms.part_roles), "parts") or "text",
        "system": probe.forms.system,
        "reasoning": probe.forms.reasoning,
        "keeps_thoughts": probe.keeps_thoughts,
        "tools": _who(not writing or not writing.offers),
        "tool_calls": _who(not writing or not writing.calls),
        "tool_syntax": template.dialect.syntax_name or "none known",
        "reasoning_marks": _marks(template),
        "tool_arguments": probe.forms.arguments,
        "generation_prompt": probe.generation_prompt,
        "terminators": list(probe.terminators),
        "stop_tokens": [template.decode([token]) for token in template.stop_token_ids],
        "eos_appended": probe.ends_open,
    }


def _who(template_does: bool) -> str:
    return "by the template" if template_does else "by swiftrl, as plain turns"


def _marks(template: Template) -> str:
    marks = template.dialect.marks
    return "none" if marks is None else f"{marks.open} {marks.close}"


def _runs(template: Template, encoded: Encoded) -> Iterator[tuple[float, str]]:
    weighted = zip(encoded.loss_weights, token_texts(template, encoded), strict=True)
    for weight, group in groupby(weighted, key=lambda item: float(item[0])):
        yield weight, "".join(text for _, text in group)
