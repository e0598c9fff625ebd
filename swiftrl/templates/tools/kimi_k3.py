"""Kimi K3: tags with attributes, each argument with its type."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from swiftrl.templates.parsing.calls import Calls
from swiftrl.templates.parsing.tagged_calls import TaggedCalls

_KINDS = ((bool, "boolean"), ((int, float), "number"), (str, "string"), (dict, "object"))


@dataclass(frozen=True, kw_only=True)
class TypedCalls(TaggedCalls):
    """Tagged calls that need no schema."""

    def head(self, name: str, index: int) -> str:
        """Return the name and the call's number."""
        return f'{_escaped(name)}" index="{index + 1}"'

    def name_in(self, head: str) -> str:
        """Return the name."""
        return html.unescape(head.partition('"')[0])

    def key(self, name: str, value: Any) -> str:
        """Return the key and the value's type."""
        kinds = [name for kind, name in _KINDS if isinstance(value, kind)]
        kind = "null" if value is None else kinds[0] if kinds else "array"
        return f'{_escaped(name)}" type="{kind}"'

    def key_in(self, head: str, calls: Calls) -> tuple[str, Mapping[str, Any] | None]:
        """Return the key, and the schema that its type makes."""
        key, _, kind = head.partition('" type="')
        return html.unescape(key), {"type": kind.removesuffix('"')}


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;")


SYNTAX = TypedCalls(
    block=("<|open|>tools<|sep|>", "<|close|>tools<|sep|>"),
    call=('<|open|>call tool="', "<|sep|>", "<|close|>call<|sep|>"),
    argument=('<|open|>argument key="', "<|sep|>", "<|close|>argument<|sep|>"),
    joint="",
    gap="",
    marks="kimi_k3",
)
