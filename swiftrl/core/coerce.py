"""Values from flags and files turned into the declared types of settings."""

from __future__ import annotations

import json
import types
from typing import Any, Union, get_args, get_origin

from swiftrl.core.errors import ConfigError

__all__ = ["coerce", "type_name"]

_TRUE, _FALSE = ("true", "yes", "1", "on"), ("false", "no", "0", "off")


def type_name(kind: Any) -> str:
    """Return a type's name for people: "int", "float or unset", "list of str"."""
    if kind is type(None):
        return "unset"
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return " or ".join(type_name(a) for a in arguments if a is not type(None))
    if origin is list:
        return f"list of {type_name(arguments[0])}"
    if origin is dict or kind is dict:
        return "json"
    return str(getattr(kind, "__name__", kind))


def coerce(value: Any, kind: Any, where: str) -> Any:
    """Return `value` as `kind`.

    Args:
        value: a string or list of strings from a flag, or whatever a YAML file holds.
        kind: bool, int, float, str, list[...], dict, or a union of those with None.
        where: the flag or file and key, for the message.

    Raises:
        ConfigError: it does not fit.
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        empty = value is None or (isinstance(value, str) and value in ("null", "None"))
        if empty and type(None) in arguments:
            return None
        return _first_fit(value, [a for a in arguments if a is not type(None)], kind, where)
    if origin is list:
        items = value if isinstance(value, list) else [value]
        return [coerce(item, arguments[0], where) for item in items]
    if origin is dict or kind is dict:
        return _mapping(value, where)
    return _scalar(value, kind, where)


def _first_fit(value: Any, kinds: list[Any], whole: Any, where: str) -> Any:
    for kind in kinds:
        try:
            return coerce(value, kind, where)
        except ConfigError:
            continue
    raise ConfigError(f"{where}: found {value!r}; expected {type_name(whole)}.")


def _mapping(value: Any, where: str) -> dict[str, Any]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except json.JSONDecodeError as error:
            raise ConfigError(
                f"{where}: not JSON: {error}; found {value!r}. Expected an object in single "
                """quotes, e.g. '{"name": "value"}'."""
            ) from None
    if not isinstance(value, dict):
        raise ConfigError(f"{where}: found {value!r}; expected a JSON object.")
    return value


def _scalar(value: Any, kind: Any, where: str) -> Any:
    problem = ConfigError(f"{where}: found {value!r}; expected {type_name(kind)}.")
    if isinstance(value, (list, dict)) or value is None:
        raise problem
    if kind is bool:
        text = str(value).lower()
        if text in _TRUE:
            return True
        if text in _FALSE:
            return False
        raise ConfigError(f"{where}: found {value!r}; expected true or false.")
    if isinstance(value, bool) and kind is not str:
        raise problem
    try:
        if kind is int and isinstance(value, float):
            if not value.is_integer():
                raise problem
            return int(value)
        return kind(value)
    except (TypeError, ValueError):
        raise problem from None
