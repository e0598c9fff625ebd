"""Which tool-call syntax and which reasoning marks a model uses, read from its chat template.

A call is rendered with the model's own template; the syntax is the one that inverts what comes out.
What the model's family is known to use only decides between several that do.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from swiftrl.core.errors import TemplateError
from swiftrl.core.messages import Conversation, Message, ToolCall
from swiftrl.templates.agent import ToolWriting
from swiftrl.templates.convert import prepare, to_messages
from swiftrl.templates.mask import locate
from swiftrl.templates.parsing.json_calls import JsonCalls
from swiftrl.templates.probe import Probe
from swiftrl.templates.reasoning import MARKS, Marks
from swiftrl.templates.render import ChatRenderer, template_literals
from swiftrl.templates.source import TemplateOptions
from swiftrl.templates.stream import StreamParser, parse_reply
from swiftrl.templates.syntax import SYNTAXES, ToolSyntax
from swiftrl.templates.trial import TOOL

__all__ = ["Dialect", "find_dialect", "speak", "tool_writing"]

_CALL = ToolCall("look_up", {"word": "qwordq", "times": 2}, "call00001")
_FOR_ANYONE = "hermes"
_SHORTEST_MARK = 6  # letters of a mark that tells a syntax by itself


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a model writes what is not plain answer.

    Attributes:
        syntax_name: in the registry of tool syntaxes; None where none is known.
        shown: the template itself shows that syntax.
        marks_name: in `reasoning.MARKS`, "own" for others that the template shows; None where the
            model shows no thoughts.
        marks: around thoughts.
    """

    syntax_name: str | None = None
    shown: bool = False
    marks_name: str | None = None
    marks: Marks | None = None

    @property
    def syntax(self) -> ToolSyntax | None:
        """The tool-call syntax."""
        return SYNTAXES.get(self.syntax_name) if self.syntax_name is not None else None

    def mark_token_ids(self, tokenizer: Any) -> frozenset[int]:
        """Return the special tokens that a reply's text must show for its marks to be seen."""
        syntax, marks = self.syntax, self.marks
        texts = [] if marks is None else [marks.open, marks.close, *marks.frames]
        if syntax is not None:
            call = ToolCall("f", {"a": "b", "c": 1}, "call00001")
            texts += [syntax.render([call, call]), *syntax.starts(()), *syntax.frames]
        written = "\0".join(texts)
        added = tokenizer.added_tokens_decoder.items()
        return frozenset(
            number for number, token in added if token.special and str(token) in written
        )

    def parser(self, tools: Sequence[Any] | None = None, prompt: str = "") -> StreamParser:
        """Return a parser for one reply.

        Args:
            tools: JSON schemas on offer; None where unknown, empty: no calls.
            prompt: its end tells whether it has opened the thoughts.
        """
        marks, syntax = self.marks, self.syntax
        thinking = marks is not None and prompt.rstrip().endswith(marks.open.strip())
        parser = StreamParser(syntax, marks, tools, thinking=thinking)
        begun = [text for text in parser.marks if prompt.endswith(text)]
        if begun and not thinking:
            # A prompt may end with what the reply's first mark begins with.
            parser.feed(max(begun, key=len))
        return parser


def speak(
    renderer: ChatRenderer, probe: Probe, options: TemplateOptions, stop_texts: Sequence[str]
) -> tuple[Dialect, Probe]:
    """Return what a model speaks, and the probe with what is written in the template's place.

    Raises:
        ConfigError: `options` name a tool-call syntax that does not exist.
    """
    dialect = find_dialect(
        renderer,
        probe,
        syntax=options.agent_template,
        likely_syntax=options.tool_syntax,
        likely_marks=options.reasoning,
        stop_texts=stop_texts,
    )
    writing = tool_writing(probe, dialect, always=options.agent_template is not None)
    if writing is not None and dialect.syntax_name is None:
        dialect = replace(dialect, syntax_name=_FOR_ANYONE)
    return dialect, replace(probe, forms=replace(probe.forms, writing=writing))


def find_dialect(
    renderer: ChatRenderer,
    probe: Probe,
    *,
    syntax: str | None = None,
    likely_syntax: str | None = None,
    likely_marks: str | None = None,
    stop_texts: Sequence[str] = (),
) -> Dialect:
    """Return what a model speaks.

    Args:
        renderer: its chat template.
        probe: of the template.
        syntax: the user's choice.
        likely_syntax: what the family is known to use.
        likely_marks: the same for thoughts.
        stop_texts: tokens that end a reply.

    Raises:
        ConfigError: there is no such syntax.
    """
    if syntax is not None:
        SYNTAXES.get(syntax)
    marks_name, marks = _find_marks(renderer, probe, likely_marks)
    shown = None
    if syntax is None:
        written = _written_call(renderer, probe, stop_texts) if probe.tools.calls else ""
        # Some templates quote JSON twice over; the model was trained on what they meant.
        for text in dict.fromkeys((written, html.unescape(written))):
            shown = shown or _inverting(text, marks, likely_syntax)
        if shown is None and probe.tools.offers:
            shown = _mentioned(renderer, likely_syntax, marks_name)
    name = syntax or shown or likely_syntax
    own = SYNTAXES.get(name).marks if name is not None else None
    if own is not None:
        marks_name, marks = own, MARKS[own]
    return Dialect(name, shown is not None, marks_name, marks)


def tool_writing(probe: Probe, dialect: Dialect, *, always: bool = False) -> ToolWriting | None:
    """Return what a syntax writes in the template's place; None where the template takes all.

    Args:
        probe: of the template.
        dialect: what the model speaks; Hermes where that is unknown.
        always: write everything, whatever the template takes.
    """
    syntax = dialect.syntax or SYNTAXES.get(_FOR_ANYONE)
    if always:
        return ToolWriting(syntax)
    use = probe.tools
    writing = ToolWriting(
        syntax,
        # A template that writes calls says itself how tools are offered, be it not at all; one
        # that only offers them must offer the calls that are written.
        offers=not use.calls and not (use.offers and dialect.shown),
        calls=not use.calls,
        beside_text=not use.beside_text,
        several=not use.several,
    )
    needed = writing.offers or writing.calls or writing.beside_text or writing.several
    return writing if needed else None


def _written_call(renderer: ChatRenderer, probe: Probe, stop_texts: Sequence[str]) -> str:
    """Return what the template has the assistant write for a call, without what ends the turn."""
    user, called = Message("user", "qfirstq"), Message("assistant", "", tool_calls=(_CALL,))
    result = Message("tool", "qresultq", name=_CALL.name, tool_call_id=_CALL.id)
    for turns in ((user, called, result, Message("assistant", "qreplyq")), (user, called)):
        try:
            conversation = prepare(Conversation(turns), probe.forms)
            messages = to_messages(conversation, probe.forms)
            index = next(i for i, m in enumerate(messages) if m.get("tool_calls"))
            found = locate(
                _rendering(renderer), messages, probe, wanted=[index], stop_texts=stop_texts
            )
        except TemplateError:
            continue
        span = found.spans[0]
        written = found.text[span.start : span.end].rstrip()
        ends = (*probe.terminators, *stop_texts)
        for end in sorted(filter(None, ends), key=len, reverse=True):
            written = written.removesuffix(end).rstrip()
        return written
    return ""


def _rendering(renderer: ChatRenderer) -> Callable[[Sequence[Any], bool], str]:
    def render(messages: Sequence[Any], prompt: bool) -> str:
        return renderer.render(messages, (TOOL,), add_generation_prompt=prompt)

    return render


def _inverting(text: str, marks: Marks | None, likely: str | None) -> str | None:
    """Return the syntax that reads the call out of `text` and leaves the least over."""
    best: list[tuple[Any, str]] = []
    for name, syntax in SYNTAXES.items() if text else ():
        own = MARKS[syntax.marks] if syntax.marks is not None else marks
        reply = parse_reply(text, syntax, own, (TOOL,))
        if [(call.name, call.arguments) for call in reply.calls] != [(_CALL.name, _CALL.arguments)]:
            continue
        rewritten = syntax.render(reply.calls)
        order = (len(reply.content.strip()), name != likely, rewritten != text)
        best.append(((*order, _difference(rewritten, text)), name))
    return min(best)[1] if best else None


def _difference(one: str, other: str) -> int:
    return abs(len("".join(one.split())) - len("".join(other.split())))


def _mentioned(renderer: ChatRenderer, likely: str | None, marks_name: str | None) -> str | None:
    """Return the syntax whose marks stand in the template, which says how calls are to look."""
    text = template_literals(renderer.source((TOOL,)))
    found: list[tuple[Any, str]] = []
    for name, syntax in SYNTAXES.items():
        starts = [start for start in syntax.starts(None) if len(start.strip()) >= _SHORTEST_MARK]
        said = [start for start in starts if start in text]
        if said:
            # The first start is the syntax's own; JSON is what most write between tags.
            main, plain = said[0] == starts[0], isinstance(syntax, JsonCalls)
            akin = syntax.marks is not None and syntax.marks == marks_name
            found.append(((name == likely, akin, main, sum(map(len, said)), plain), name))
    return max(found)[1] if found else None


def _find_marks(
    renderer: ChatRenderer, probe: Probe, likely: str | None
) -> tuple[str | None, Marks | None]:
    opening, closing = probe.thought_markers or ("", "")
    literals = "\0".join(template_literals(text) for text in renderer.sources.values())
    shown = opening or probe.generation_prompt
    candidates = [
        ((name == likely, all(frame in literals for frame in marks.frames), len(marks.open)), name)
        for name, marks in MARKS.items()
        if marks.open in shown or (marks.open in literals and marks.close in literals)
    ]
    preferred = [item for item in candidates if MARKS[item[1]].open in opening]
    if preferred or (candidates and not opening.strip()):
        name = max(preferred or candidates)[1]
        return name, MARKS[name]
    if opening.strip() and closing.strip():
        return "own", Marks(opening.strip(), closing.strip())
    if likely is None and probe.forms.reasoning == "inline":
        likely = "think"  # as which data of any origin is rendered
    return (likely, MARKS[likely]) if likely in MARKS else (None, None)
