"""Argument values that a syntax writes without quotes: their type is the schema's."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["decode", "encode", "is_text", "literal", "unquoted"]

_KINDS: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "object": (dict,),
    "array": (list,),
    "null": (type(None),),
}
_NAMES = {"true": True, "false": False, "null": None, "none": None, "True": True, "False": False}


def encode(value: Any) -> str:
    """Return a value as text: a string as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def unquoted(text: str) -> str:
    """Return `text` as it stands between the quotes of a JSON string."""
    return json.dumps(text, ensure_ascii=False)[1:-1]


def is_text(schema: Mapping[str, Any] | None) -> bool:
    """Return whether values of this schema can only be strings."""
    return _types(schema) == {"string"}


def decode(text: str, schema: Mapping[str, Any] | None) -> Any:
    """Return the value that `text` stands for.

    Without a schema it is JSON where it reads as such, and else a string.
    """
    types = _types(schema)
    if types == {"string"}:
        return text
    for value in _readings(text.strip()):
        if not types or any(_is_a(value, kind) for kind in types - {"string"}):
            return int(value) if _whole(value, types) else value
    return text


def literal(text: str) -> Any:
    """Return the value of a literal as Python or JSON write it.

    Raises:
        ValueError: it is none.
    """
    try:
        return _value(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise ValueError(str(error)) from None


def _readings(text: str) -> Iterator[Any]:
    for read in (json.loads, literal):
        try:
            value = read(text)
        except (ValueError, RecursionError):
            continue
        # JSON knows no NaN, and a quoted string keeps its quotes where a bare one was expected.
        if not (isinstance(value, float) and (value != value or abs(value) == float("inf"))):
            yield value


def _is_a(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    if kind == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _KINDS.get(kind, ()))


def _whole(value: Any, types: set[str]) -> bool:
    return isinstance(value, float) and "integer" in types and "number" not in types


def _types(schema: Mapping[str, Any] | None) -> set[str]:
    """Return the types a schema allows, an empty set where it does not say."""
    if schema is None:
        return set()
    named = schema.get("type")
    if isinstance(named, str):
        return {named.lower()}
    if isinstance(named, list):
        return {str(name).lower() for name in named}
    types: set[str] = set()
    for word in ("anyOf", "oneOf"):
        for choice in schema.get(word) or ():
            types |= _types(choice) if isinstance(choice, Mapping) else set()
    choices = schema.get("enum")
    if not types and isinstance(choices, list) and choices:
        types = {kind for choice in choices for kind in _KINDS if _is_a(choice, kind)}
    return types


def _value(node: ast.expr) -> Any:
    plain = (str, int, float, type(None))
    if isinstance(node, ast.Constant) and isinstance(node.value, plain):
        return node.value
    if isinstance(node, ast.Name) and node.id in _NAMES:
        return _NAMES[node.id]
    if isinstance(node, (ast.List, ast.Tuple)):
        return [_value(item) for item in node.elts]
    if isinstance(node, ast.Dict) and all(key is not None for key in node.keys):
        return {str(_value(k)): _value(v) for k, v in zip(node.keys, node.values, strict=True) if k}
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        number = _value(node.operand)
        if isinstance(number, (int, float)) and not isinstance(number, bool):
            return -number
    raise ValueError("expected a literal")
