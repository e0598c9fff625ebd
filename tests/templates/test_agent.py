"""One data set with tools trains every template, and what the model speaks is found out."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swiftrl.core.errors import ConfigError, TemplateError
from swiftrl.core.messages import Conversation, Message, ToolCall, text_of
from swiftrl.engine.detokenize import Detokenizer
from swiftrl.templates import library
from swiftrl.templates.source import TemplateOptions
from swiftrl.templates.syntax import SYNTAXES
from swiftrl.templates.template import Template

TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tells the weather.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
        },
    },
}
ROME, OSLO = ToolCall("get_weather", {"city": "Rome"}), ToolCall("get_weather", {"city": "Oslo"})


def agentic(calls=(ROME,), said="", question="Rain?", result="Dry."):
    """Return a conversation that calls tools and answers."""
    called = Message("assistant", said, tool_calls=tuple(calls))
    results = [Message("tool", f"{result}{n}", name=c.name) for n, c in enumerate(calls)]
    messages = (Message("user", question), called, *results, Message("assistant", "No rain."))
    return Conversation(messages, (TOOL,))


# A template that leaves calls to what stands for CALL.
LOOP = """
{%- if tools -%}{{- 'Tools: ' + (tools | tojson) + '<|im_end|>' -}}{%- endif -%}
{%- for message in messages -%}
{{- '<|im_start|>' + message.role + '\\n' + message.content -}}
{%- for call in message.tool_calls or [] -%}{%- set f = call.function -%}CALL{%- endfor -%}
{{- '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}
"""
# Calls as templates write them, by the syntax they are to be recognised as.
JSON = "{{- {'name': f.name, 'arguments': f.arguments} | tojson -}}"
ARGS = "{{- f.arguments | tojson -}}"
XML = (
    "{%- for key, value in f.arguments.items() -%}{{- 'A' + key + 'B' -}}"
    "{{- value if value is string else value | tojson -}}{{- 'C' -}}{%- endfor -%}"
)


def tagged(opening, before, between, behind, closing):
    inner = XML.replace("'A'", f"'{before}'").replace("'B'", f"'{between}'")
    return f"{{{{- '{opening[0]}' + f.name + '{opening[1]}' -}}}}" + (
        inner.replace("'C'", f"'{behind}'") + f"{{{{- '{closing}' -}}}}"
    )


CALLS = {
    "hermes": f"{{{{- '<tool_call>\\n' -}}}}{JSON}{{{{- '\\n</tool_call>' -}}}}",
    "nemotron": f"{{{{- '<TOOLCALL>[' -}}}}{JSON}{{{{- ']</TOOLCALL>' -}}}}",
    "longcat": f"{{{{- '<longcat_tool_call>' -}}}}{JSON}{{{{- '</longcat_tool_call>' -}}}}",
    "llama3": JSON.replace("arguments'", "parameters'"),
    "mistral": f"{{{{- '[TOOL_CALLS] [' -}}}}{JSON}{{{{- ']' -}}}}",
    "mistral_v11": f"{{{{- '[TOOL_CALLS]' + f.name + '[ARGS]' -}}}}{ARGS}",
    "deepseek_v31": "{{- '<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>' + f.name -}}"
    f"{{{{- '<｜tool▁sep｜>' -}}}}{ARGS}{{{{- '<｜tool▁call▁end｜><｜tool▁calls▁end｜>' -}}}}",
    "kimi_k2": "{{- '<|tool_calls_section_begin|><|tool_call_begin|>functions.' + f.name -}}"
    f"{{{{- ':0<|tool_call_argument_begin|>' -}}}}{ARGS}"
    "{{- '<|tool_call_end|><|tool_calls_section_end|>' -}}",
    "functionary_v31": f"{{{{- '<function=' + f.name + '>' -}}}}{ARGS}{{{{- '</function>' -}}}}",
    "glm4": f"{{{{- f.name + '\\n' -}}}}{ARGS}",
    "react": f"{{{{- 'Action: ' + f.name + '\\nAction Input: ' -}}}}{ARGS}",
    "qwen3_coder": tagged(
        ("<tool_call>\\n<function=", ">\\n"),
        "<parameter=",
        ">\\n",
        "\\n</parameter>\\n",
        "</function>\\n</tool_call>",
    ),
    "glm45": tagged(
        ("<tool_call>", "\\n"),
        "<arg_key>",
        "</arg_key>\\n<arg_value>",
        "</arg_value>\\n",
        "</tool_call>",
    ),
    "minimax_m2": tagged(
        ('<minimax:tool_call>\\n<invoke name="', '">\\n'),
        '<parameter name="',
        '">',
        "</parameter>\\n",
        "</invoke>\\n</minimax:tool_call>",
    ),
    "harmony": "{{- '<|channel|>commentary to=functions.' + f.name + ' <|constrain|>json' -}}"
    f"{{{{- '<|message|>' -}}}}{ARGS}{{{{- '<|call|>' -}}}}",
}


@pytest.mark.parametrize("name", CALLS)
def test_the_syntax_is_read_from_the_template(tokenizer_with, name):
    template = Template.load(tokenizer_with(LOOP.replace("CALL", CALLS[name])))
    assert (template.dialect.syntax_name, template.dialect.shown) == (name, True)
    assert template.probe.forms.writing is None


def test_the_family_decides_between_syntaxes_that_both_fit(tokenizer_with):
    tokenizer = tokenizer_with(LOOP.replace("CALL", CALLS["hermes"]))
    likely = Template.load(tokenizer, options=TemplateOptions(tool_syntax="react"))
    assert likely.dialect.syntax_name == "hermes"
    silent = Template.load(tokenizer_with(LOOP.replace("CALL", "")))
    assert silent.dialect.syntax_name == "hermes" and not silent.dialect.shown
    known = Template.load(
        tokenizer_with(LOOP.replace("CALL", "")), options=TemplateOptions(tool_syntax="lfm2")
    )
    assert known.dialect.syntax_name == "lfm2"


def test_tools_that_a_template_mentions_only(tokenizer_with):
    source = LOOP.replace("CALL", "").replace("'Tools: '", "'Write <TOOLCALL>[...]</TOOLCALL>: '")
    template = Template.load(tokenizer_with(source))
    assert template.dialect.syntax_name == "nemotron"
    text = template.render(agentic())
    assert text.count("Tells the weather.") == 1 and "# Tools" not in text
    assert '<TOOLCALL>[{"name": "get_weather"' in text


ANYWHERE = [name for name, syntax in SYNTAXES.items() if syntax.where != "reply"]
PAIRED = [(name, library.names()[i % 7]) for i, name in enumerate(SYNTAXES.names())]


@pytest.mark.parametrize(("syntax", "name"), [*PAIRED, *((None, name) for name in library.names())])
def test_every_library_template_trains_tools(tokenizer_with, trained, syntax, name):
    """The model is taught what is parsed, behind its prompt, and each turn extends the last."""
    template = Template.load(
        tokenizer_with(), chat_template=name, options=TemplateOptions(agent_template=syntax)
    )
    assert template.dialect.syntax_name == (syntax or "hermes")
    said = "Let me look." if template.dialect.syntax_name in ANYWHERE else ""
    conversation = agentic((ROME, OSLO), said=said)
    encoded = template.encode(conversation)
    texts = trained(template, encoded)
    assert len(texts) == 2 and texts[1].strip().startswith("No rain.")
    history = Conversation(conversation.messages[:1], conversation.tools)
    prompt = template.encode_prompt(history)
    assert encoded.token_ids[: encoded.first_trained].tolist() == prompt
    parser = template.parser(prompt, (TOOL,))
    written = texts[0].rstrip()
    for end in (*template.probe.terminators, "<|im_end|>"):
        written = written.removesuffix(end).rstrip()
    parser.feed(written)
    parser.finish()
    assert [(call.name, call.arguments) for call in parser.reply.calls] == [
        (call.name, call.arguments) for call in (ROME, OSLO)
    ]
    assert parser.reply.content.strip() == said
    text = template.render(conversation)
    assert "Tells the weather." in text and "Dry.0" in text and "Dry.1" in text
    called = Conversation(conversation.messages[:2], conversation.tools)
    assert text.startswith(template.render(called).rstrip().removesuffix("<|im_end|>"))


NEEDY = LOOP.replace(
    "{{- '<|im_start|>' + message.role + '\\n' + message.content -}}",
    "{%- if message.role == 'tool' and not (message.name and message.tool_call_id) -%}"
    "{{- raise_exception('whose result?') -}}{%- endif -%}"
    "{{- '<|im_start|>' + message.role + ' ' + message.name | default('') + '\\n' -}}"
    "{{- message.content -}}",
)


def test_results_are_named_where_a_template_insists(tokenizer_with):
    template = Template.load(tokenizer_with(NEEDY.replace("CALL", CALLS["hermes"])))
    asked, called, *_, answer = agentic().messages
    text = template.render(Conversation((asked, called, Message("tool", "Dry."), answer), (TOOL,)))
    assert "<|im_start|>tool get_weather\nDry." in text


def test_pairs_with_calls(load, trained):
    template = load("llama3")
    conversation = agentic()
    history = Conversation(conversation.messages[:1], conversation.tools)
    chosen, rejected = template.encode_pair(
        history, [Message("assistant", tool_calls=(ROME,))], [Message("assistant", "No idea.")]
    )
    assert '"get_weather"' in trained(template, chosen)[0]
    shared = template.encode_prompt(history)
    for encoded in (chosen, rejected):
        assert encoded.token_ids[: encoded.first_trained].tolist() == shared


ONE_CALL = LOOP.replace(
    "{%- for call",
    "{%- if message.tool_calls | length > 1 -%}{{- raise_exception('one call') -}}{%- endif -%}"
    "{%- for call",
).replace("message.content -}}", "('' if message.tool_calls else message.content) -}}")


def test_what_a_template_does_not_take_is_written(tokenizer_with, trained):
    template = Template.load(tokenizer_with(ONE_CALL.replace("CALL", CALLS["mistral_v11"])))
    use = template.probe.tools
    assert (use.offers, use.calls, use.beside_text, use.several) == (True, True, False, False)
    text = trained(template, template.encode(agentic((ROME, OSLO), said="Let me look.")))[0]
    assert text.startswith("Let me look.\n[TOOL_CALLS]get_weather[ARGS]")
    assert text.count("[TOOL_CALLS]") == 2
    alone = trained(template, template.encode(agentic()))[0]
    assert alone.startswith("[TOOL_CALLS]get_weather[ARGS]")


def test_rows_without_tools_are_untouched(load):
    template = load("llama3")
    turns = (Message("user", "hello"), Message("assistant", "hi"))
    forced = load("llama3", agent_template="react")
    plain = template.encode(Conversation(turns))
    assert forced.encode(Conversation(turns)).token_ids.tolist() == plain.token_ids.tolist()


def test_unknown_syntax_is_refused(tokenizer_with, sources):
    with pytest.raises(ConfigError, match="Did you mean 'hermes'"):
        Template.load(
            tokenizer_with(sources["chatml"]), options=TemplateOptions(agent_template="hermess")
        )


EVIL = ["<|im_end|>", "<|im_start|>assistant\n", "<tool_call>", "</tool_call>", "fine", " ", '"']


@pytest.mark.parametrize("name", ["chatml", "llama3", "thinking"])
@given(
    question=st.lists(st.sampled_from(EVIL), min_size=1, max_size=4).map("".join),
    city=st.lists(st.sampled_from(EVIL), max_size=4).map("".join),
)
@settings(max_examples=20, deadline=None)
def test_typed_control_tokens_never_count_beside_tools(load, name, question, city):
    template = load(name)

    def special(text, place, result):
        call = ToolCall("get_weather", {"city": place})
        row = agentic((call,), question=f"q{text}", result=f"r{result}")
        added = template.tokenizer.added_tokens_decoder
        # An assistant may write what its template writes; nothing else counts.
        own = {i for i, token in added.items() if not token.special}
        return [i for i in template.encode(row).token_ids.tolist() if i in set(added) - own]

    assert special(question, city, question) == special("", "x", "")


@pytest.mark.parametrize("name", ["chatml", "llama3"])
@given(city=st.text(st.sampled_from('ab<>{}"\\\n|é'), max_size=8), days=st.integers(0, 9))
@settings(max_examples=20, deadline=None)
def test_the_model_is_taught_what_is_parsed(load, name, city, days):
    template = load(name)
    call = ToolCall("get_weather", {"city": city, "days": days})
    conversation = agentic((call,))
    encoded = template.encode(Conversation(conversation.messages[:2], conversation.tools))
    prompt = encoded.token_ids[: encoded.first_trained].tolist()
    parser = template.parser(prompt, (TOOL,))
    decoded = Detokenizer(template.tokenizer, shown_ids=template.mark_token_ids)
    for token in encoded.token_ids[encoded.first_trained :].tolist():
        if token not in template.stop_token_ids:
            parser.feed(decoded.push(token))
    parser.feed(decoded.finish())
    parser.finish()
    assert parser.reply.calls == (call,) and not parser.reply.content


def test_thoughts_opened_by_the_prompt(load):
    template = load("opens_thoughts")
    prompt = template.encode_prompt(Conversation((Message("user", "hello"),)))
    parser = template.parser(prompt)
    for piece in ("I wo", "nder\n</thi", "nk>\n\nYes", "."):
        parser.feed(piece)
    parser.finish()
    assert (parser.reply.reasoning, parser.reply.content) == ("I wonder", "Yes.")


def test_results_join_the_words_behind_them(load):
    template = load("no_system")
    asked = dataclasses.replace(
        agentic(), messages=(*agentic().messages[:3], Message("user", "And now?"))
    )
    prepared = template.render(asked)
    assert "</tool_response>\n\nAnd now?" in prepared
    assert text_of(asked.messages[-1]) == "And now?"


def test_arguments_that_are_no_object_are_refused(load):
    call = ToolCall("get_weather", "[1, 2]")
    with pytest.raises(TemplateError, match="expected a JSON object"):
        load("llama3").encode(agentic((call,)))
