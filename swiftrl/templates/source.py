"""Which chat template a model is rendered with: its own, the library's or the user's file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from swiftrl.core.errors import TemplateError
from swiftrl.templates import library
from swiftrl.templates.render import ChatRenderer, template_variables

__all__ = ["TemplateOptions", "adds_bos", "build_renderer"]


@dataclass(frozen=True, slots=True)
class TemplateOptions:
    """What a user or a model family adds to a template.

    Attributes:
        system: system prompt for conversations that have none.
        enable_thinking: the template's thinking switch; None leaves the template's own default.
        response_prefix: text that every reply starts with, given and not trained.
        variables: more variables for the template.
        stop_tokens: tokens that end a reply besides the tokenizer's EOS and the template's own.
        agent_template: the tool-call syntax that writes tools and calls, whatever the template
            does; None leaves to it what it takes.
        tool_syntax: the syntax that the model's family is known to use.
        reasoning: the marks around thoughts that it is known to use.
        fallback: a name in the library, for a model that publishes no template.
    """

    system: str | None = None
    enable_thinking: bool | None = None
    response_prefix: str = ""
    variables: Mapping[str, Any] = field(default_factory=dict)
    stop_tokens: tuple[str, ...] = ()
    agent_template: str | None = None
    tool_syntax: str | None = None
    reasoning: str | None = None
    fallback: str | None = None


def build_renderer(
    tokenizer: Any, processor: Any, chat_template: str | None, options: TemplateOptions
) -> ChatRenderer:
    """Return the renderer for a model.

    Args:
        tokenizer: its special tokens reach the template; its own template comes second.
        processor: its template comes first, for they can differ.
        chat_template: a name in the library or a .jinja file, over the model's own.
        options: the user's switches, and the library's template for a model without its own.

    Raises:
        TemplateError: there is no template, or no such one, or it lacks a switch asked for.
    """
    variables = dict(tokenizer.special_tokens_map)
    own = {} if chat_template else _own(tokenizer, processor)
    chosen = chat_template or options.fallback
    if own:
        sources, name = own, "the model's chat template"
    elif chosen is None:
        raise TemplateError(_no_template(tokenizer))
    elif chosen.endswith(".jinja"):
        sources, name = {"default": _file(chosen)}, chosen
    else:
        sources, name = {"default": library.source(chosen)}, f"template {chosen!r}"
        variables["bos_token"] = tokenizer.bos_token if adds_bos(tokenizer) else ""
        if "eos_token" not in variables:
            raise TemplateError(
                f"{name}: the tokenizer has no EOS token to end a turn with; give the model's "
                "folder one in tokenizer_config.json."
            )
    known = frozenset().union(*(template_variables(text) for text in sources.values()))
    variables.update(_thinking(options.enable_thinking, known, name))
    variables.update(options.variables)
    shipped = None if own or name == chosen else chosen
    return ChatRenderer(sources, variables, name, shipped)


def _own(tokenizer: Any, processor: Any) -> dict[str, str]:
    """Return the model's own templates by name, or none."""
    own = getattr(processor, "chat_template", None) or getattr(tokenizer, "chat_template", None)
    if isinstance(own, Mapping):
        return dict(own)
    return {"default": own} if isinstance(own, str) and own else {}


def _no_template(tokenizer: Any) -> str:
    nearest = library.nearest([str(t) for t in tokenizer.added_tokens_decoder.values()])
    return (
        "the model has no chat template. For a base model choose one with --template: "
        f"{', '.join(nearest)} suit its tokens (the library has {', '.join(library.names())}; "
        "a file ending in .jinja works too)."
    )


def _file(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TemplateError(f"--template {path}: cannot be read: {error}.") from error


def _thinking(switch: bool | None, known: frozenset[str], name: str) -> dict[str, bool]:
    if switch is None:
        return {}
    names = known & {"enable_thinking", "thinking"}
    if not names:
        raise TemplateError(
            f"--enable_thinking {str(switch).lower()}: {name} has no thinking switch; "
            "leave the flag out."
        )
    return dict.fromkeys(names, switch)


def adds_bos(tokenizer: Any) -> bool:
    """Return whether the tokenizer puts BOS before plain text."""
    bos = getattr(tokenizer, "bos_token_id", None)
    return bos is not None and tokenizer("x")["input_ids"][:1] == [bos]
