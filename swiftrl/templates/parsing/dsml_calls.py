"""DeepSeek's markup: every argument in a tag that says whether its value is a plain string."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from swiftrl.templates.parsing.calls import Calls
from swiftrl.templates.parsing.scanner import MalformedCall
from swiftrl.templates.parsing.tagged_calls import TaggedCalls

__all__ = ["DsmlCalls"]

_ATTRIBUTE = '" string="'


@dataclass(frozen=True, kw_only=True)
class DsmlCalls(TaggedCalls):
    """Tagged calls whose arguments carry `string="true"` or JSON."""

    def key(self, name: str, value: Any) -> str:
        """Return the key, and whether the value is a string."""
        return f"{name}{_ATTRIBUTE}{'true' if isinstance(value, str) else 'false'}"

    def key_in(self, head: str, calls: Calls) -> tuple[str, Mapping[str, Any] | None]:
        """Return the key, and the schema that the attribute tells."""
        key, found, plain = head.partition(_ATTRIBUTE)
        if not found:
            return key, calls.schema(key)
        return key, {"type": "string"} if plain == "true" else None

    def value_of(self, text: str, schema: Mapping[str, Any] | None) -> Any:
        """Return the JSON value."""
        try:
            return json.loads(text)
        except ValueError:
            raise MalformedCall("a value is not JSON") from None


def dsml(block: str) -> DsmlCalls:
    """Return the syntax whose calls stand in a block of this name."""
    mark = "｜DSML｜"
    return DsmlCalls(
        block=(f"<{mark}{block}>\n", f"\n</{mark}{block}>"),
        call=(f'<{mark}invoke name="', '">\n', f"</{mark}invoke>"),
        argument=(f'<{mark}parameter name="', '">', f"</{mark}parameter>"),
    )
