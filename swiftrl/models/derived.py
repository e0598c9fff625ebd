"""What follows for a family from its template or architecture, where its entry does not say.

Loading a model finds the same in the folder's own chat template and tokenizer; this is what can be
known before there is a folder, for listings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from swiftrl.models.catalog import conformance
from swiftrl.models.remote_code import needs_remote_code
from swiftrl.models.spec import ModelSpec
from swiftrl.templates import library
from swiftrl.templates.probe import control_units, probe_template
from swiftrl.templates.reasoning import MARKS
from swiftrl.templates.render import ChatRenderer

__all__ = ["LEAST_TRANSFORMERS", "Derived", "Source", "derived"]

Source = Literal["registry", "library template", "chat template", "architecture", "eos", "none"]
LEAST_TRANSFORMERS = "5.19"
"""What this package asks for; a family without a version of its own is in it."""

_WRITES_TURNS = {"chat", "tools", "reasoning"}
_EOS = "<eos>"


@dataclass(frozen=True, slots=True)
class Derived:
    """What is known of a family, and where from.

    Attributes:
        stop_tokens: that end a turn besides the tokenizer's EOS.
        tool_syntax: a name in templates/tools.
        reasoning: a name in `templates.reasoning.MARKS`.
        quant_groups: linear layers of a decoder layer, those that share an input together.
        min_transformers: first version that has the architectures; None where none has.
        sources: of each field; "chat template" means that loading reads it from the folder's
            template, "eos" that the tokenizer's EOS is all.
    """

    stop_tokens: tuple[str, ...]
    tool_syntax: str | None
    reasoning: str | None
    quant_groups: tuple[tuple[str, ...], ...]
    min_transformers: str | None
    sources: Mapping[str, Source]


def derived(spec: ModelSpec) -> Derived:
    """Return what is known of a family before one of its folders is opened."""
    stops = spec.stop_tokens or (_ends(spec.template) if spec.template else ())
    marks = spec.reasoning or (_marks(spec.template) if spec.template else None)
    groups, of_groups = _groups(spec)
    sources: dict[str, Source] = {
        "stop_tokens": _source(spec, spec.stop_tokens, stops, "eos"),
        "tool_syntax": _source(spec, spec.tool_syntax, None, "none"),
        "reasoning": _source(spec, spec.reasoning, marks, "none"),
        "quant_groups": of_groups,
    }
    least = None if needs_remote_code(spec) else spec.min_transformers or LEAST_TRANSFORMERS
    return Derived(stops, spec.tool_syntax, marks, groups, least, sources)


def _source(spec: ModelSpec, said: object, shown: object, otherwise: Source) -> Source:
    if said:
        return "registry"
    if shown:
        return "library template"
    return "chat template" if _WRITES_TURNS & set(spec.capabilities) else otherwise


def _groups(spec: ModelSpec) -> tuple[tuple[tuple[str, ...], ...], Source]:
    """Return groups of layers: the entry's, or those that a tiny model showed."""
    if spec.quant_groups:
        return spec.quant_groups, "registry"
    for architecture in spec.architectures:
        if found := conformance().get(architecture, {}).get("quant_groups"):
            return tuple(map(tuple, found)), "architecture"
    return (), "none"


@lru_cache(maxsize=64)
def _ends(template: str) -> tuple[str, ...]:
    """Return the tokens that a library template ends a reply with, EOS aside."""
    renderer = ChatRenderer(
        {"default": library.source(template)},
        {"bos_token": "", "eos_token": _EOS},
        library=template,
    )
    terminators = probe_template(renderer, (_EOS,)).terminators
    ends = [control_units(text)[-1:] for text in terminators]
    return tuple(dict.fromkeys(units[0] for units in ends if units and units[0] != _EOS))


@lru_cache(maxsize=64)
def _marks(template: str) -> str | None:
    """Return the style of the thoughts that a library template writes, or None."""
    text = library.source(template)
    shown = [name for name, marks in MARKS.items() if marks.open in text and marks.close in text]
    return max(shown, key=lambda name: len(MARKS[name].open), default=None)
