"""Rendering messages with a chat template, by transformers' own machinery.

Everything that becomes text in this package goes through `ChatRenderer`, so that what is trained,
generated, served and evaluated is the same string that the vendor's template writes.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from swiftrl.core.errors import TemplateError

__all__ = ["ChatRenderer", "render_reply", "template_literals", "template_variables"]

# What a template can raise: Jinja's own errors, and Python's from the expressions inside it.
_REFUSALS = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError)


@dataclass(frozen=True, slots=True)
class ChatRenderer:
    """Chat templates of one model and the variables they are given.

    Attributes:
        sources: Jinja text by name; "default", and "tool_use" where tools have their own.
        variables: what every rendering receives: the special tokens and the user's switches.
        name: how messages call the template.
        library: its name in the library, where it is from there.
    """

    sources: Mapping[str, str]
    variables: Mapping[str, Any]
    name: str = "the model's chat template"
    library: str | None = None

    def source(self, tools: Sequence[Mapping[str, Any]] = ()) -> str:
        """Return the Jinja text that serves a conversation with these tools."""
        if tools and "tool_use" in self.sources:
            return self.sources["tool_use"]
        if "default" not in self.sources:
            raise TemplateError(
                f"{self.name}: none of its templates ({', '.join(sorted(self.sources))}) is called "
                "'default'; name one with --template FILE.jinja."
            )
        return self.sources["default"]

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] = (),
        *,
        add_generation_prompt: bool = False,
        continue_final_message: bool = False,
        **variables: Any,
    ) -> str:
        """Return the text of `messages`, equal to `tokenizer.apply_chat_template`.

        Args:
            messages: dicts as the template takes them.
            tools: JSON schemas.
            add_generation_prompt: end with the header of the assistant's next turn.
            continue_final_message: leave the last message open.
            **variables: more variables, over those of this renderer.

        Raises:
            TemplateError: the template refuses the messages.
        """
        from jinja2 import TemplateError as JinjaError
        from transformers.utils.chat_template_utils import render_jinja_template

        try:
            texts, _ = render_jinja_template(
                conversations=[_with_reasoning_names(messages)],
                tools=list(tools) or None,  # type: ignore[arg-type]
                chat_template=self.source(tools),
                add_generation_prompt=add_generation_prompt,
                continue_final_message=continue_final_message,
                **{**self.variables, **variables},
            )
        except JinjaError as error:
            raise TemplateError(f"{self.name} refuses this conversation: {error}") from error
        except _REFUSALS as error:
            raise TemplateError(
                f"{self.name} fails on this conversation: {type(error).__name__}: {error}"
            ) from error
        return texts[0]


def render_reply(
    renderer: ChatRenderer,
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Mapping[str, Any]] = (),
    *,
    add_generation_prompt: bool = False,
) -> str:
    """Return the text of `messages` by a template that writes prompts but no final reply.

    A final reply, which the template refuses or leaves out, is its prompt and its content.

    Raises:
        TemplateError: the template refuses the messages.
    """
    if messages[-1]["role"] != "assistant" or len(messages) < 2:
        return renderer.render(messages, tools, add_generation_prompt=add_generation_prompt)
    prompt = renderer.render(messages[:-1], tools, add_generation_prompt=True)
    return prompt + _content(messages[-1])


def _content(message: Mapping[str, Any]) -> str:
    if message.get("tool_calls"):
        raise TemplateError("the chat template writes prompts only and knows no tool calls.")
    content = message.get("content") or ""
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


def _with_reasoning_names(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    # transformers 5.23 gives the thoughts under each name that templates read; older ones do not.
    named = []
    for message in messages:
        copy = dict(message)
        for name in ("reasoning_content", "thinking", "reasoning"):
            if copy.get(name) is not None:
                thoughts = copy[name]
                copy = {"thinking": thoughts, **copy, "reasoning_content": thoughts}
                break
        named.append(copy)
    return named


@functools.lru_cache(maxsize=64)
def template_variables(source: str) -> frozenset[str]:
    """Return the names of the variables that a template reads and does not set."""
    from jinja2 import TemplateError as JinjaError
    from jinja2 import meta
    from transformers.utils.chat_template_utils import _compile_jinja_template

    try:
        environment = _compile_jinja_template(source).environment
        return frozenset(meta.find_undeclared_variables(environment.parse(source)))
    except JinjaError as error:
        raise TemplateError(f"the chat template is not valid Jinja: {error}") from error


@functools.lru_cache(maxsize=64)
def template_literals(source: str) -> str:
    """Return a template's literal strings, joined by NUL."""
    from jinja2 import nodes
    from transformers.utils.chat_template_utils import _compile_jinja_template

    tree = _compile_jinja_template(source).environment.parse(source)
    texts = [node.data for node in tree.find_all(nodes.TemplateData)]
    texts += [node.value for node in tree.find_all(nodes.Const) if isinstance(node.value, str)]
    return "\0".join(texts)
