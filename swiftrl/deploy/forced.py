"""Grammars for replies that must be JSON, or must call a tool."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from swiftrl.core.messages import ToolCall
from swiftrl.deploy.problems import Problem
from swiftrl.engine.sampling import Grammar
from swiftrl.templates.template import Template

__all__ = ["call_grammar", "format_grammar", "wanted_tools"]


def format_grammar(given: Mapping[str, Any] | None) -> Grammar | None:
    """Return the grammar of OpenAI's `response_format`; None is any text.

    Raises:
        Problem: it is none.
    """
    kind = (given or {}).get("type", "text")
    if kind == "text":
        return None
    if kind == "json_object":
        return Grammar("json_schema", '{"type": "object"}')
    inner = (given or {}).get("json_schema")
    schema = inner.get("schema") if isinstance(inner, dict) else None
    if kind == "json_schema" and isinstance(schema, dict):
        return Grammar("json_schema", json.dumps(schema))
    raise Problem(
        400, "'response_format': expected type text, json_object or json_schema with a schema.",
        param="response_format", code="invalid_value",
    )  # fmt: skip


def wanted_tools(choice: Any, tools: Sequence[dict[str, Any]]) -> tuple[list[dict[str, Any]], bool]:
    """Return the tools that a reply may call, and whether it must.

    Raises:
        Problem: the choice names none of them.
    """
    if choice in (None, "auto"):
        return list(tools), False
    if choice == "none":
        return [], False
    function = choice.get("function") if isinstance(choice, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    found = [t for t in tools if choice == "required" or t["function"]["name"] == name]
    if not found:
        raise Problem(
            400, "'tool_choice': it asks for a tool that 'tools' does not hold.",
            param="tool_choice", code="invalid_value",
        )  # fmt: skip
    return found, True


def call_grammar(template: Template, tools: Sequence[Mapping[str, Any]]) -> Grammar:
    """Return a grammar of one call of one of these tools, as the model writes calls.

    The call is written once with empty arguments, and their place taken by the tool's schema.

    Raises:
        Problem: the model writes no calls, or no JSON in them.
    """
    syntax = template.dialect.syntax
    rules, names = [], []
    for number, tool in enumerate(tools):
        function = tool["function"]
        call = ToolCall(function["name"], {}, "call00001")
        written = "" if syntax is None else syntax.render([call])
        before, slot, after = written.strip().partition("{}")
        if not slot:
            raise Problem(
                400, "'tool_choice': this model's syntax of calls cannot be forced; use auto.",
                param="tool_choice", code="unsupported_value",
            )  # fmt: skip
        schema = {"type": "object", **(function.get("parameters") or {})}
        rules.append(
            f"call{number}: {_literal(before, template)} args{number} {_literal(after, template)}\n"
            f"args{number}: %json {json.dumps(schema)}"
        )
        names.append(f"call{number}")
    return Grammar("lark", "start: " + " | ".join(names) + "\n" + "\n".join(rules))


def _literal(text: str, template: Template) -> str:
    """Return text for a grammar: tokens that are marks by number, all else quoted."""
    tokenizer, parts = template.tokenizer, []
    added = {
        str(token): number
        for number, token in tokenizer.added_tokens_decoder.items()
        if token.special or re.fullmatch("<.+>", str(token))
    }
    while text:
        places = [(text.find(mark), mark) for mark in added if mark in text]
        at, mark = min(places, default=(len(text), ""))
        if at:
            parts.append(json.dumps(text[:at]))
        if mark:
            parts.append(f"<[{added[mark]}]>")
        text = text[at + len(mark) :]
    return " ".join(parts)
