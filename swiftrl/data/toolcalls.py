"""Tools on offer and calls to them, in the forms data sets write them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from swiftrl.core.messages import ToolCall
from swiftrl.data.draft import shown
from swiftrl.data.rows import BadRow

__all__ = ["parse_tool_calls", "parse_tools"]


def parse_tools(value: Any) -> tuple[dict[str, Any], ...]:
    """Return a row's tools as OpenAI's {"type": "function", "function": {...}} objects.

    Args:
        value: a list, or that list as JSON text; entries may be bare functions or JSON texts
            themselves. None and empty text: no tools.
    """
    if value is None or value == "":
        return ()
    tools = _from_json(value, '"tools"') if isinstance(value, str) else value
    if isinstance(tools, Mapping):
        tools = [tools]
    if not isinstance(tools, list):
        raise BadRow(f'"tools" is {shown(value)}; expected a list of function descriptions.')
    return tuple(_parse_tool(tool, f'"tools"[{number}]') for number, tool in enumerate(tools))


def _parse_tool(tool: Any, where: str) -> dict[str, Any]:
    if isinstance(tool, str):
        tool = _from_json(tool, where)
    if not isinstance(tool, Mapping):
        raise BadRow(f"{where} is {shown(tool)}; expected a function description.")
    tool = dict(tool)
    described = tool.get("function", tool)
    if not isinstance(described, Mapping) or not isinstance(described.get("name"), str):
        raise BadRow(f'{where} is {shown(tool)}; a function description needs "name".')
    return tool if "function" in tool else {"type": "function", "function": tool}


def parse_tool_calls(value: Any, where: str) -> tuple[ToolCall, ...]:
    """Return the calls of one assistant turn.

    Args:
        value: one call or a list of calls, as objects or as JSON text; each is {"name",
            "arguments"} or OpenAI's {"id", "function": {"name", "arguments"}}.
        where: for messages, e.g. "messages[2].tool_calls".
    """
    if isinstance(value, str):
        value = _from_json(value, where)
    if isinstance(value, Mapping):
        value = [value]
    if not isinstance(value, list) or not value:
        raise BadRow(f"{where} is {shown(value)}; expected tool calls.")
    return tuple(_parse_call(call, f"{where}[{number}]") for number, call in enumerate(value))


def _parse_call(call: Any, where: str) -> ToolCall:
    if isinstance(call, str):
        call = _from_json(call, where)
    inner = call.get("function", call) if isinstance(call, Mapping) else None
    if not isinstance(inner, Mapping) or not isinstance(inner.get("name"), str):
        raise BadRow(f'{where} is {shown(call)}; expected {{"name": ..., "arguments": {{...}}}}.')
    arguments = inner.get("arguments", inner.get("parameters"))
    if isinstance(arguments, str):
        arguments = _object_or_text(arguments)
    elif arguments is None:
        arguments = {}
    elif not isinstance(arguments, Mapping):
        raise BadRow(f"{where}.arguments is {shown(arguments)}; expected an object.")
    identity = call.get("id")
    return ToolCall(
        name=inner["name"],
        arguments=arguments if isinstance(arguments, str) else dict(arguments),
        id=identity if isinstance(identity, str) else None,
    )


def _object_or_text(text: str) -> dict[str, Any] | str:
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        return text
    return value if isinstance(value, dict) else text


def _from_json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise BadRow(
            f"{where} is the text {shown(text)}, which is not JSON: {error.msg} at character "
            f"{error.pos + 1}."
        ) from None
