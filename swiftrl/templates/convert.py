"""Conversations as the dicts a chat template expects."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from swiftrl.core.errors import TemplateError
from swiftrl.core.messages import Conversation, Message, Part, ToolCall, text_of
from swiftrl.templates.agent import ToolWriting

__all__ = ["Forms", "Guard", "guarded", "normalise", "prepare", "to_messages"]

Guard = Callable[[str, str], str]

_INLINE_THOUGHTS = re.compile(r"\s*<think>(?P<thoughts>.*?)</think>\s*(?P<answer>.*)\Z", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Forms:
    """The forms in which a template takes what a conversation holds, as its probe found them.

    Attributes:
        part_roles: roles whose content must be a list of parts; the others take a string.
        arguments: whether tool-call arguments are a dict or a JSON string.
        reasoning: "field" where `reasoning_content` is read, "inline" where thoughts must stand in
            the content as `<think>...</think>`, "dropped" where neither reaches the text.
        system: "message", or "merged" into the first user turn where the template has none.
        call_ids: calls must have ids, and results name them.
        call_id_length: exact length of a tool call's id where the template insists on one.
        result_names: results must name their function.
        media: kinds of media that may stand in the content.
        writing: writes what the template does not take of tools and calls.
    """

    part_roles: frozenset[str] = field(default_factory=frozenset)
    arguments: Literal["dict", "string"] = "dict"
    reasoning: Literal["field", "inline", "dropped"] = "inline"
    system: Literal["message", "merged"] = "message"
    call_ids: bool = False
    call_id_length: int | None = None
    result_names: bool = False
    media: frozenset[str] = field(default_factory=frozenset)
    writing: ToolWriting | None = None


def normalise(message: Message) -> Message:
    """Move thoughts that an assistant's content opens with into `reasoning_content`."""
    if message.role != "assistant" or message.reasoning_content is not None:
        return message
    if not isinstance(message.content, str):
        return message
    found = _INLINE_THOUGHTS.match(message.content)
    if found is None:
        return message
    return dataclasses.replace(
        message,
        reasoning_content=found["thoughts"].strip("\n"),
        content=found["answer"],
    )


def prepare(conversation: Conversation, forms: Forms) -> Conversation:
    """Return the conversation as the template can take it, message by message.

    A system message is merged into the first user turn where the template has none; thoughts that
    open an assistant's content move to `reasoning_content` unless the template wants them inline;
    calls and their results get ids where the template insists on them; tools and results that it
    does not take become plain turns.

    Raises:
        TemplateError: no user turn can carry the system message's text.
    """
    if forms.writing is not None:
        conversation = forms.writing.prepared(conversation)
    messages = list(conversation.messages)
    if forms.system == "merged":
        messages = _merge_system(messages)
    if forms.call_ids or forms.result_names:
        messages = _with_call_ids(messages, forms)
    if forms.reasoning != "inline":
        messages = [normalise(message) for message in messages]
    return Conversation(tuple(messages), conversation.tools)


def to_messages(
    conversation: Conversation, forms: Forms, guard: Guard | None = None
) -> list[dict[str, Any]]:
    """Return the messages of a prepared `conversation` in the template's forms, one for one.

    Args:
        conversation: from `prepare`.
        forms: from the probe.
        guard: applied to every string that came with the conversation (text, role).

    Raises:
        TemplateError: the conversation carries media that the model does not take, or a reply does.
    """
    return [
        _to_dict(message, index, forms, guard or _unguarded)
        for index, message in enumerate(conversation.messages)
    ]


def _unguarded(text: str, role: str) -> str:
    return text


def _merge_system(messages: list[Message]) -> list[Message]:
    if not messages or messages[0].role != "system":
        return messages
    system, rest = messages[0], messages[1:]
    if not rest or rest[0].role != "user":
        raise TemplateError(
            "the chat template takes no system message, and no user turn follows it to carry its "
            "text; remove the system message or add a user turn."
        )
    text, user = text_of(system), rest[0]
    if not text:
        return rest
    if isinstance(user.content, str):
        content: str | tuple[Part, ...] = f"{text}\n\n{user.content}" if user.content else text
    else:
        content = (Part("text", text=f"{text}\n\n"), *user.content)
    return [dataclasses.replace(user, content=content), *rest[1:]]


def _with_call_ids(messages: list[Message], forms: Forms) -> list[Message]:
    """Give ids to calls that have none, and to results the id and the name of their call."""
    named: list[Message] = []
    waiting: list[ToolCall] = []
    for index, message in enumerate(messages):
        if message.tool_calls:
            calls = message.tool_calls
            if forms.call_ids:
                calls = tuple(
                    dataclasses.replace(call, id=call.id or f"call{index:03d}{number:02d}")
                    for number, call in enumerate(calls)
                )
            message = dataclasses.replace(message, tool_calls=calls)
            waiting = list(calls)
        elif message.role == "tool" and waiting:
            own = [call for call in waiting if call.id and call.id == message.tool_call_id]
            call = (own or waiting)[0]
            waiting.remove(call)
            message = dataclasses.replace(
                message,
                tool_call_id=message.tool_call_id or (call.id if forms.call_ids else None),
                name=message.name or (call.name if forms.result_names else None),
            )
        named.append(message)
    return named


def _to_dict(message: Message, index: int, forms: Forms, guard: Guard) -> dict[str, Any]:
    role = message.role
    if _kinds(message):
        return _with_media(message, index, forms, guard)
    content = guard(text_of(message), role)
    written = forms.writing is not None and forms.writing.writes(message)
    if forms.writing is not None and written:
        content = forms.writing.text(content, [_guarded_call(c, guard) for c in message.tool_calls])
    result: dict[str, Any] = {"role": role}
    if message.reasoning_content is not None:
        thoughts = guard(message.reasoning_content, role)
        if forms.reasoning == "field":
            result["reasoning_content"] = thoughts
        elif forms.reasoning == "inline":
            content = f"<think>\n{thoughts}\n</think>\n\n{content}"
    in_parts = role in forms.part_roles
    result["content"] = [{"type": "text", "text": content}] if in_parts else content
    if message.tool_calls and not written:
        result["tool_calls"] = _calls(message, forms, guard)
    if message.name is not None:
        result["name"] = guard(message.name, role)
    if message.tool_call_id is not None:
        result["tool_call_id"] = guard(_call_id(message.tool_call_id, forms), role)
    return result


def _kinds(message: Message) -> set[str]:
    if isinstance(message.content, str):
        return set()
    return {part.kind for part in message.content} - {"text"}


def _with_media(message: Message, index: int, forms: Forms, guard: Guard) -> dict[str, Any]:
    """Return a message whose content holds media, as parts whatever the role's form is."""
    refused = sorted(_kinds(message) - forms.media)
    if refused:
        taken = ", ".join(("text", *sorted(forms.media)))
        raise TemplateError(
            f"message {index} ({message.role}) holds {', '.join(refused)}; this model takes "
            f"{taken} here. Remove such rows or parts."
        )
    if message.role == "assistant":
        raise TemplateError(
            f"message {index} (assistant) holds {', '.join(sorted(_kinds(message)))}; replies are "
            "text. Move it to the user's turn."
        )
    parts = [
        {"type": "text", "text": guard(part.text or "", message.role)}
        if part.kind == "text"
        else {"type": part.kind}
        for part in message.content
        if isinstance(part, Part)
    ]
    result: dict[str, Any] = {"role": message.role, "content": parts}
    if message.name is not None:
        result["name"] = guard(message.name, message.role)
    if message.tool_call_id is not None:
        result["tool_call_id"] = guard(_call_id(message.tool_call_id, forms), message.role)
    return result


def _calls(message: Message, forms: Forms, guard: Guard) -> list[dict[str, Any]]:
    calls = []
    for call in message.tool_calls:
        arguments: Any = guarded(call.arguments, message.role, guard)
        if forms.arguments == "string" and isinstance(arguments, Mapping):
            arguments = json.dumps(arguments, ensure_ascii=False)
        elif forms.arguments == "dict" and isinstance(arguments, str):
            arguments = _parsed(arguments)
        function = {"name": guard(call.name, message.role), "arguments": arguments}
        made: dict[str, Any] = {"type": "function", "function": function}
        if call.id is not None:
            made = {"id": guard(_call_id(call.id, forms), message.role), **made}
        calls.append(made)
    return calls


def _guarded_call(call: ToolCall, guard: Guard) -> ToolCall:
    def apply(text: str) -> str:
        return guard(text, "assistant")

    identity = None if call.id is None else apply(call.id)
    return ToolCall(apply(call.name), guarded(call.arguments, "assistant", guard), identity)


def guarded(value: Any, role: str, guard: Guard) -> Any:
    """Return `value` with `guard` applied to every string in it, keys included."""
    if isinstance(value, str):
        return guard(value, role)
    if isinstance(value, Mapping):
        return {guard(str(key), role): guarded(item, role, guard) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [guarded(item, role, guard) for item in value]
    return value


def _parsed(arguments: str) -> Any:
    try:
        value = json.loads(arguments) if arguments.strip() else {}
    except ValueError:
        return arguments
    return value if isinstance(value, dict) else arguments


def _call_id(identity: str, forms: Forms) -> str:
    length = forms.call_id_length
    if length is None or (len(identity) == length and identity.isalnum()):
        return identity
    kept = "".join(character for character in identity if character.isalnum())
    return kept[-length:].rjust(length, "0")
