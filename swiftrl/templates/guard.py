"""Control tokens that come with the data stay text.

A control token typed by a user is broken by an invisible mark after its first character before the
conversation is rendered. The text is then tokenised in pieces that end at the marks, so that no
tokenizer can see the token whole, and the marks themselves are never tokenised.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from swiftrl.core.errors import TemplateError
from swiftrl.templates.render import template_literals
from swiftrl.templates.slots import SENTINEL

__all__ = ["MARK", "ControlGuard", "control_guard", "without_marks"]

MARK = "\U0010f5a0"
# How templates that print Python values or escaped JSON write the mark.
_ESCAPED = (json.dumps(MARK)[1:-1], ascii(MARK)[1:-1])
# An assistant's thoughts are marked by these in data of any origin.
_STRUCTURAL = frozenset({"<think>", "</think>"})


@dataclass(frozen=True)
class ControlGuard:
    """Breaks control tokens in strings that come with the data.

    Attributes:
        special: the tokenizer's special tokens, text in every role.
        structural: added tokens that the template writes (tool-call tags and the like): text when a
            user, system or tool message holds them, but part of what an assistant may write.
    """

    special: frozenset[str]
    structural: frozenset[str] = field(default_factory=frozenset)

    def __post_init__(self) -> None:
        assistant = self.special - _STRUCTURAL
        object.__setattr__(self, "_assistant", _matcher(assistant))
        object.__setattr__(self, "_others", _matcher(self.special | self.structural))

    def __call__(self, text: str, role: str) -> str:
        """Return `text` with every control token in it broken by a mark.

        Raises:
            TemplateError: the text holds a character that is reserved for marks.
        """
        if MARK in text or SENTINEL in text:
            raise TemplateError(
                f"a {role} message holds the private-use character U+{ord(MARK):X} or "
                f"U+{ord(SENTINEL[0]):X}, which stand for something else here; remove it."
            )
        matcher = self._assistant if role == "assistant" else self._others  # type: ignore[attr-defined]
        return matcher.sub(_broken, text) if matcher.search(text) else text


def _matcher(tokens: Iterable[str]) -> re.Pattern[str]:
    # Longer ones first, so that a token wins over those it contains.
    alternatives = sorted((token for token in tokens if token), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, alternatives)) or "(?!)")


def _broken(found: re.Match[str]) -> str:
    token = found[0]
    return f"{token[0]}{MARK}{token[1:]}"


def control_guard(tokenizer: Any, sources: Mapping[str, str]) -> ControlGuard:
    """Return the guard of a tokenizer and the chat templates it is used with."""
    added = tokenizer.added_tokens_decoder.values()
    special = {str(token) for token in added if token.special}
    special |= set(tokenizer.all_special_tokens)
    literals = "\0".join(template_literals(text) for text in sources.values())
    structural = {
        str(token)
        for token in added
        if str(token) in literals and not str(token).isalnum() and not str(token).isspace()
    }
    return ControlGuard(frozenset(special), frozenset(structural))


def plain_marks(text: str) -> str:
    """Return rendered text with marks that a template escaped as characters again."""
    for escaped in _ESCAPED:
        if escaped in text:
            text = text.replace(escaped, MARK)
    return text


def without_marks(text: str) -> str:
    """Return `text` as people read it."""
    return text.replace(MARK, "")
