"""Short conversations by which a template is tried."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from swiftrl.core.errors import TemplateError
from swiftrl.core.messages import Conversation, Message, ToolCall
from swiftrl.templates.convert import Forms, prepare, to_messages
from swiftrl.templates.render import ChatRenderer, render_reply

__all__ = ["ANSWER", "ASK", "TOOL", "ToolUse", "Trial", "try_tools"]

TOOL = {
    "type": "function",
    "function": {
        "name": "look_up",
        "description": "Looks a word up.",
        "parameters": {
            "type": "object",
            "properties": {
                "word": {"type": "string", "description": "The word."},
                "times": {"type": "integer", "description": "How often."},
            },
            "required": ["word"],
        },
    },
}
# Words that no template writes and that Jinja's filters, JSON and HTML leave alone.
ASK, ANSWER = "qfirstq", "qreplyq"
_SAID, _WORD, _OTHER, _RESULT, _NEXT = "qsaidq", "qwordq", "qotherq", "qresultq", "qnextq"
_IDS = ("call_0123456789abcdef", "call_123456789abcdef0")


@dataclass(frozen=True, slots=True)
class Trial:
    """A renderer with what every trial conversation must carry for the template to work at all."""

    renderer: ChatRenderer
    preamble: tuple[Message, ...] = ()
    tools: tuple[Mapping[str, Any], ...] = ()
    prompts_only: bool = False

    def render(self, forms: Forms, *messages: Message, prompt: bool = False) -> str:
        """Return the text, or an empty string where the template refuses."""
        try:
            conversation = prepare(Conversation((*self.preamble, *messages)), forms)
            written = render_reply if self.prompts_only else ChatRenderer.render
            return written(
                self.renderer,
                to_messages(conversation, forms),
                self.tools,
                add_generation_prompt=prompt,
            )
        except TemplateError:
            return ""


@dataclass(frozen=True, slots=True)
class ToolUse:
    """What a template does with tools.

    Attributes:
        offers: tool schemas reach the text.
        calls: calls and their results reach the text.
        beside_text: they do in a turn that says something too.
        several: several calls in a turn do.
    """

    offers: bool = False
    calls: bool = False
    beside_text: bool = False
    several: bool = False


def try_tools(trial: Trial, forms: Forms) -> tuple[Forms, ToolUse]:
    """Find out whether tools are offered, and in which form calls are taken."""
    user = Message("user", ASK)
    offered = replace(trial, tools=(TOOL,))
    plain = replace(trial, tools=())
    offers = "look_up" in offered.render(forms, user, prompt=True)
    offers = offers and "look_up" not in plain.render(forms, user, prompt=True)
    for length in (None, 9):
        for arguments in ("dict", "string"):
            candidate = replace(forms, arguments=arguments, call_id_length=length)
            if _calls_work(offered, candidate):
                beside = _SAID in _called(offered, candidate, said=_SAID)
                several = _OTHER in _called(offered, candidate, words=(_WORD, _OTHER))
                return _with_needs(offered, candidate), ToolUse(offers, True, beside, several)
    return forms, ToolUse(offers)


def _with_needs(trial: Trial, forms: Forms) -> Forms:
    """Return the forms with what a template insists on that data may lack."""
    ids = forms.call_id_length is not None or not _called(trial, forms, ids=(None, None))
    names = not _called(trial, forms, result_name=None)
    return replace(forms, call_ids=ids, result_names=names)


def _calls_work(trial: Trial, forms: Forms) -> bool:
    text = _called(trial, forms)
    if not text:
        return False
    around = text[max(0, text.rfind(_WORD) - 5) : text.rfind(_WORD)]
    # A string that is written as JSON once more, or a dict as Python writes it: try the other form.
    mangled = "\\" in around or "&" in around or around.endswith("'")
    if not mangled or forms.arguments == "string":
        return True
    return f'"{_WORD}"' not in _called(trial, replace(forms, arguments="string"))


def _called(
    trial: Trial,
    forms: Forms,
    *,
    said: str = "",
    words: tuple[str, ...] = (_WORD,),
    ids: tuple[str | None, ...] = _IDS,
    result_name: str | None = "look_up",
) -> str:
    """Return the text of calls up to their results, or an empty string where it is lost."""
    named = list(zip(words, ids, strict=False))
    calls = tuple(ToolCall("look_up", {"word": word, "times": 2}, id=id) for word, id in named)
    results = (Message("tool", _RESULT, name=result_name, tool_call_id=id) for _, id in named)
    text = trial.render(
        forms,
        Message("user", ASK),
        Message("assistant", said, tool_calls=calls),
        *results,
        Message("assistant", _NEXT),
    )
    called = text[: text.find(_RESULT)] if _RESULT in text else ""
    return called if "look_up" in called and _WORD in called else ""
