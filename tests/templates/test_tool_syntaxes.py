"""Every tool-call syntax: what it writes is read back, however the text is cut."""

import json
import re
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from swiftrl.core.errors import TemplateError
from swiftrl.core.messages import ToolCall
from swiftrl.models.catalog import all_specs
from swiftrl.templates.parsing.events import CallDelta, CallEnd, CallStart
from swiftrl.templates.reasoning import MARKS
from swiftrl.templates.stream import StreamParser, parse_reply
from swiftrl.templates.syntax import SYNTAXES

NAMES = SYNTAXES.names()
LEAVES_OUT_NONE = SYNTAXES.get("minimax_m3")

TOOLS = (
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            },
        },
    },
    {
        "type": "function",
        "function": {
            "name": "search.docs",
            "parameters": {
                "type": "object",
                "properties": {
                    "query": {"type": "string"},
                    "limit": {"type": ["integer", "null"]},
                    "weight": {"type": "number"},
                    "deep": {"type": "boolean"},
                    "tags": {"type": "array", "items": {"type": "string"}},
                    "filters": {
                        "type": "object",
                        "properties": {"lang": {"type": "string"}, "year": {"type": "integer"}},
                    },
                },
            },
        },
    },
)
words = st.text(
    st.one_of(st.sampled_from("ab \"\\\n<>{}[]()=,:;/'`é你🙂&"), st.characters(codec="utf-8")),
    max_size=12,
).filter(lambda text: "\r" not in text)
ids = st.none() | st.text("abcdef0123456789", min_size=9, max_size=9)


@st.composite
def calls(draw):
    """Draw a call of one of the tools, with some of its arguments."""
    if draw(st.booleans()):
        choices = {"city": words, "days": st.integers(-99, 99)}
        name = "get_weather"
    else:
        choices = {
            "query": words,
            "limit": st.integers(0, 9) | st.none(),
            "weight": st.floats(-9, 9).map(lambda x: round(x, 2)),
            "deep": st.booleans(),
            "tags": st.lists(words, max_size=3),
            "filters": st.fixed_dictionaries(
                {}, optional={"lang": words, "year": st.integers(0, 9)}
            ),
        }
        name = "search.docs"
    given_ = draw(st.lists(st.sampled_from(sorted(choices)), unique=True))
    return ToolCall(name, {key: draw(choices[key]) for key in given_}, draw(ids))


def written(syntax, made, content=""):
    """Return what the assistant writes, unless the syntax says that it cannot."""
    assume(syntax is not LEAVES_OUT_NONE or all(None not in c.arguments.values() for c in made))
    try:
        return content + syntax.separator(content) + syntax.render(made)
    except TemplateError:
        assume(False)
        raise


def marks_of(syntax):
    return MARKS[syntax.marks] if syntax.marks is not None else None


def shape(made):
    return [(call.name, call.arguments) for call in made]


def fed(syntax, text, cuts, **options):
    """Return a parser that was given `text` in pieces, and its events."""
    parser = StreamParser(syntax, marks_of(syntax), TOOLS, **options)
    edges = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    events = []
    for start, end in pairwise(edges):
        events += parser.feed(text[start:end])
    return parser, events + parser.finish()


@pytest.mark.parametrize("name", NAMES)
@given(made=st.lists(calls(), min_size=1, max_size=3), spoken=st.booleans())
@settings(max_examples=12, deadline=None)
def test_parse_inverts_render(name, made, spoken):
    syntax = SYNTAXES.get(name)
    content = "Let me see: 1 < 2." if spoken and syntax.where != "reply" else ""
    reply = parse_reply(written(syntax, made, content), syntax, marks_of(syntax), TOOLS)
    assert shape(reply.calls) == shape(made)
    assert reply.content == content and not reply.broken


@pytest.mark.parametrize("name", NAMES)
@given(
    made=st.lists(calls(), min_size=1, max_size=2),
    cuts=st.lists(st.integers(0, 10**6), max_size=40),
    damage=st.none() | st.tuples(st.integers(0, 10**6), st.integers(1, 12)),
    tail=st.sampled_from(["", "\n", " And so on.", "<", '{"', "\n\nDone.\n"]),
)
@settings(max_examples=15, deadline=None)
def test_cuts_do_not_matter(name, made, cuts, damage, tail):
    syntax = SYNTAXES.get(name)
    text = "Well.\n" + written(syntax, made) + tail
    if syntax.where == "reply":
        text = text.removeprefix("Well.\n")
    if damage is not None:
        at = damage[0] % len(text)
        text = text[:at] + text[at + damage[1] :]
    parser, events = fed(syntax, text, cuts)
    whole = parse_reply(text, syntax, marks_of(syntax), TOOLS)
    assert parser.reply == whole
    one_by_one, _ = fed(syntax, text, range(len(text)))
    assert one_by_one.reply == whole
    for number, event in enumerate(e for e in events if isinstance(e, CallEnd)):
        assert event.call == whole.calls[number]
        pieces = [e.text for e in events if isinstance(e, CallDelta) and e.index == event.index]
        assert json.loads("".join(pieces), strict=False) == event.call.arguments
    begun = [event.index for event in events if isinstance(event, CallStart)]
    assert begun == sorted(set(begun))


@pytest.mark.parametrize("name", NAMES)
@given(made=calls(), at=st.integers(0, 10**6))
@settings(max_examples=12, deadline=None)
def test_a_reply_cut_off_loses_nothing(name, made, at):
    syntax = SYNTAXES.get(name)
    text = written(syntax, [made])
    text = text[: at % len(text)]
    reply = parse_reply(text, syntax, marks_of(syntax), TOOLS)
    if reply.calls:  # only marks behind the call are missing
        assert shape(reply.calls) == shape([made]) and not reply.broken
        return
    kept = text
    for frame in (*syntax.frames, *(marks_of(syntax).frames if syntax.marks else ())):
        kept = kept.replace(frame, "")
    assert "".join(reply.content.split()) == "".join(kept.split())


@pytest.mark.parametrize("name", NAMES)
@given(text=words.filter(lambda text: not re.search(r"[<\[{>]|\]", text)))
@settings(max_examples=8, deadline=None)
def test_plain_text_stays_as_it_is(name, text):
    syntax = SYNTAXES.get(name)
    parser, events = fed(syntax, text, range(0, 100, 3))
    assert parser.reply.content == text and not parser.reply.calls
    assert "".join(event.text for event in events) == text


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
@settings(max_examples=12, deadline=None)
def test_any_text_is_read_and_cuts_do_not_matter(name, data):
    syntax = SYNTAXES.get(name)
    call = ToolCall("get_weather", {"city": "Rome", "days": 2})
    marks = marks_of(syntax)
    texts = [
        *syntax.starts(["get_weather"]),
        *syntax.frames,
        "get_weather",
        '"',
        "{",
        "}",
        "\n",
        ":",
    ]
    texts += re.findall(r"<[^<>]+>|\W|\w+", syntax.render([call]))
    texts += [marks.open, marks.close] if marks else []
    text = "".join(data.draw(st.lists(st.sampled_from(texts), max_size=25)))
    whole = parse_reply(text, syntax, marks, TOOLS)
    parser, _ = fed(syntax, text, data.draw(st.lists(st.integers(0, 10**6), max_size=20)))
    assert parser.reply == whole
    assert fed(syntax, text, range(len(text)))[0].reply == whole


@pytest.mark.parametrize("name", ["hermes", "gemma4", "lfm2", "qwen3_coder", "mistral_v11"])
def test_brackets_nested_beyond_all_reason_are_content(name):
    syntax = SYNTAXES.get(name)
    text = syntax.render([ToolCall("search.docs", {"tags": "X"})]).replace('"X"', "X")
    text = text.replace('<|"|>X<|"|>', "X").replace("X", "[" * 30000 + "]" * 30000)
    reply = parse_reply(text, syntax, None, TOOLS)
    assert reply.broken or reply.calls


@pytest.mark.parametrize("name", NAMES)
def test_no_tools_no_calls(name):
    syntax = SYNTAXES.get(name)
    text = syntax.render([ToolCall("get_weather", {"city": "Rome"})])
    assert not parse_reply(text, syntax, None, ()).calls


@pytest.mark.parametrize("name", NAMES)
def test_a_call_begins_before_its_arguments_end(name):
    syntax = SYNTAXES.get(name)
    text = syntax.render([ToolCall("get_weather", {"city": "Rome", "days": 12345})])
    parser = StreamParser(syntax, marks_of(syntax), TOOLS)
    events = parser.feed(text[: text.index("12345") + 2])
    assert CallStart(0, "get_weather", events[0].id) == events[0]
    pieces = "".join(event.text for event in events if isinstance(event, CallDelta))
    assert '"city": "Rome"' in pieces
    assert not any(isinstance(event, CallEnd) for event in events)


@pytest.mark.parametrize(
    ("name", "identity"), [("mistral", "abc123def"), ("mistral_v11", "abc123def"), ("cohere", "0")]
)
def test_ids_are_kept(name, identity):
    syntax = SYNTAXES.get(name)
    made = [ToolCall("get_weather", {"city": "Rome"}, identity)]
    assert list(parse_reply(syntax.render(made), syntax, None, TOOLS).calls) == made


def test_kimi_ids_hold_the_name():
    syntax = SYNTAXES.get("kimi_k2")
    made = [
        ToolCall("get_weather", {}, "functions.get_weather:7"),
        ToolCall("get_weather", {}, "x"),
    ]
    reply = parse_reply(syntax.render(made), syntax, None, TOOLS)
    assert [call.id for call in reply.calls] == [
        "functions.get_weather:7",
        "functions.get_weather:1",
    ]


def test_what_a_syntax_cannot_carry_is_refused():
    call = ToolCall("get_weather", {"city": "a</parameter>b"})
    with pytest.raises(TemplateError, match="cannot carry"):
        SYNTAXES.get("qwen3_coder").render([call])
    with pytest.raises(TemplateError, match="expected a JSON object"):
        SYNTAXES.get("hermes").render([ToolCall("get_weather", "[1]")])


def test_offers_list_every_tool_and_show_the_form():
    for name in NAMES:
        text = SYNTAXES.get(name).describe(TOOLS)
        assert '"get_weather"' in text and '"search.docs"' in text, name


def test_every_syntax_and_marks_that_families_name_exist():
    for spec in all_specs():
        assert spec.tool_syntax is None or spec.tool_syntax in NAMES, spec.name
        assert spec.reasoning is None or spec.reasoning in MARKS, spec.name
    assert {s.marks for _, s in SYNTAXES.items() if s.marks is not None} <= set(MARKS)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_documents_list_every_syntax(language):
    page = Path(__file__).parents[2] / "docs" / language / "templates.md"
    assert re.findall(r"^\| `(\w+)` \| ", page.read_text("utf-8").split("\n## ")[3], re.M) == NAMES


THOUGHTS = "I wonder.\n\n1 < 2?"


@pytest.mark.parametrize("name", MARKS)
@given(cuts=st.lists(st.integers(0, 10**6), max_size=30), opened=st.booleans())
@settings(max_examples=15, deadline=None)
def test_thoughts_and_answer(name, cuts, opened):
    marks = MARKS[name]
    text = f"{'' if opened else marks.open}\n{THOUGHTS}\n{marks.close}\n\nIt is so."
    parser = StreamParser(None, marks, thinking=opened)
    edges = sorted({0, len(text), *(cut % len(text) for cut in cuts)})
    for start, end in pairwise(edges):
        parser.feed(text[start:end])
    parser.finish()
    assert parser.reply.reasoning == THOUGHTS and parser.reply.content == "It is so."


def test_thoughts_that_do_not_end_are_thoughts():
    reply = parse_reply("<think>\nso far", None, MARKS["think"])
    assert (reply.reasoning, reply.content) == ("so far", "")


def test_a_tag_in_the_answer_is_text():
    text = "The tag <think> opens thoughts; </think> ends them."
    assert parse_reply(text, None, MARKS["think"]).content == text


def test_harmony_channels():
    text = (
        "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>commentary"
        "<|message|>One moment.<|end|><|start|>assistant<|channel|>commentary "
        'to=functions.get_weather <|constrain|>json<|message|>{"city": "Rome"}<|call|>'
    )
    reply = parse_reply(text, SYNTAXES.get("harmony"), MARKS["harmony"], TOOLS)
    assert (reply.reasoning, reply.content) == ("Hm.", "One moment.")
    assert shape(reply.calls) == [("get_weather", {"city": "Rome"})]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"name": "get_weather", "arguments": "{\\"city\\": \\"Rome\\"}"}', {"city": "Rome"}),
        ('{"arguments": {"city": "Rome"}, "name": "get_weather"}', {"city": "Rome"}),
        ('{"name": "get_weather", "arguments": null}', {}),
        ('{"name": "get_weather"}', {}),
        ('{"type": "function", "function": {"name": "get_weather", "arguments": {}}}', {}),
        ('[{"name": "get_weather", "parameters": {"city": "a\nb"}}]', {"city": "a\nb"}),
    ],
)
def test_variants_of_json_calls(text, value):
    for ending in ("\n</tool_call>", "</tool_call>", ""):
        reply = parse_reply(f"<tool_call>{text}{ending}", SYNTAXES.get("hermes"), None, TOOLS)
        assert shape(reply.calls) == [("get_weather", value)] and not reply.content


@pytest.mark.parametrize(
    "text",
    [
        "<tool_call>\nnothing\n</tool_call>",
        '<tool_call>\n{"name": "get_weather", "arguments": [1]}\n</tool_call>',
        '<tool_call>\n{"name": "get_weather", "arguments": {"city": ',
        '<tool_call>\n{"arguments": {}}\n</tool_call>',
        '<tool_call>\n{"name": "two words", "arguments": {}}\n</tool_call>',
    ],
)
def test_broken_calls_are_content(text):
    reply = parse_reply(f"Look:\n{text}", SYNTAXES.get("hermes"), None, TOOLS)
    assert not reply.calls and reply.content == f"Look:\n{text}"
    assert reply.broken[0].reason


def test_a_bare_object_is_a_call_only_of_a_tool_on_offer():
    syntax = SYNTAXES.get("llama3")
    text = '{"name": "Ann", "parameters": {"age": 3}}'
    assert parse_reply(text, syntax, None, TOOLS).content == text
    text = 'A sentence first: {"name": "get_weather", "parameters": {}}'
    assert parse_reply(text, syntax, None, TOOLS).content == text
