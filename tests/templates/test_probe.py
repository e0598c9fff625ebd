"""What the probe finds in templates that each do one thing differently."""

import pytest

from swiftrl.core.errors import TemplateError
from swiftrl.core.messages import Conversation, Message, ToolCall
from swiftrl.templates.convert import prepare, to_messages
from swiftrl.templates.probe import probe_template
from swiftrl.templates.render import ChatRenderer
from swiftrl.templates.template import Template
from swiftrl.templates.trial import ToolUse


@pytest.mark.parametrize(
    "name",
    ["chatml", "thinking", "trailing_space", "escapes_arguments", "parts", "no_system"],
)
def test_generation_prompt_and_terminator(load, name):
    probe = load(name).probe
    assert probe.generation_prompt == "<|im_start|>assistant\n"
    assert probe.terminators == ("<|im_end|>",)
    assert not probe.ends_open


def test_ignored_generation_prompt(load):
    probe = load("no_generation_prompt").probe
    assert probe.generation_prompt == ""
    assert probe.header == "<|im_end|>\n"  # the model writes the assistant's header itself


def test_terminator_between_turns_only(load):
    probe = load("separator").probe
    assert probe.ends_open
    assert probe.terminators == ("<|im_end|>",)


def test_no_terminator(load):
    probe = load("no_terminator").probe
    assert probe.ends_open
    assert probe.terminators == ()


def test_parts(load):
    assert "assistant" in load("parts").probe.forms.part_roles
    assert not load("chatml").probe.forms.part_roles


def test_system(load):
    assert load("chatml").probe.forms.system == "message"
    assert load("no_system").probe.forms.system == "merged"


def test_tools_and_calls(load):
    assert load("chatml").probe.tools == ToolUse(True, True, True, True)
    assert load("llama3").probe.tools == ToolUse()
    assert load("thinking").probe.tools == ToolUse(False, True, True, True)


def test_argument_form(load):
    assert load("chatml").probe.forms.arguments == "dict"
    assert load("escapes_arguments").probe.forms.arguments == "string"


def test_arguments_are_a_string_where_a_dict_would_be_written_as_python(sources):
    source = sources["escapes_arguments"].replace(" | tojson | e", " | string")
    probe = probe_template(ChatRenderer({"default": source}, {}))
    assert probe.forms.arguments == "string"


def test_reasoning(load):
    thinking = load("thinking").probe
    assert thinking.forms.reasoning == "field"
    assert thinking.thought_markers == ("<think>\n", "\n</think>\n\n")
    assert not thinking.keeps_thoughts
    assert load("chatml").probe.forms.reasoning == "inline"
    assert load("opens_thoughts").probe.forms.reasoning == "dropped"


def test_prompt_that_no_reply_starts_with(load):
    assert load("chatml").probe.prompt_opens_reply
    assert not load("opens_thoughts").probe.prompt_opens_reply


NINE = """
{%- for message in messages -%}
{%- for call in message.tool_calls or [] -%}
{%- if call.id is not defined or call.id | length != 9 -%}
{{- raise_exception('ids have 9 characters') -}}
{%- endif -%}
{{- call.function.name + (call.function.arguments | tojson) + call.id -}}
{%- endfor -%}
{%- if message.role == 'tool' and message.tool_call_id | default('') | length != 9 -%}
{{- raise_exception('ids have 9 characters') -}}
{%- endif -%}
{{- message.role + ': ' + message.content + (message.tool_call_id or '') + '</s>' -}}
{%- endfor -%}"""


def test_call_id_length():
    probe = probe_template(ChatRenderer({"default": NINE}, {}))
    assert probe.forms.call_id_length == 9


@pytest.mark.parametrize("ids", [(None, None), ("call_abcdefghij-1", "call_abcdefghij-2")])
def test_ids_are_fitted_and_filled_in(ids):
    forms = probe_template(ChatRenderer({"default": NINE}, {})).forms
    calls = tuple(ToolCall("look", {}, id=identity) for identity in ids)
    results = [Message("tool", "rain", tool_call_id=identity) for identity in ids]
    conversation = Conversation(
        (Message("user", "hello"), Message("assistant", tool_calls=calls), *results)
    )
    _, called, *answers = to_messages(prepare(conversation, forms), forms)
    made = [call["id"] for call in called["tool_calls"]]
    assert [answer["tool_call_id"] for answer in answers] == made
    assert len(set(made)) == 2 and all(len(identity) == 9 for identity in made)


def test_template_without_content_renders_and_is_refused(tokenizer_with):
    template = Template.load(tokenizer_with("nothing"))
    asked = Conversation((Message("user", "hello"),))
    assert template.render(asked) == "nothing"
    for refused in (template.check, lambda: template.encode_prompt(asked)):
        with pytest.raises(TemplateError, match="cannot render a question and its answer"):
            refused()


def test_reason_of_refusal_is_passed_on():
    source = "{{ raise_exception('only on Sundays') }}"
    assert "only on Sundays" in probe_template(ChatRenderer({"default": source}, {})).refusal


def test_template_that_needs_a_system_message_is_probed_with_one():
    source = """
    {%- if messages[0].role != 'system' -%}{{- raise_exception('system first') -}}{%- endif -%}
    {%- for message in messages -%}{{- message.role + ':' + message.content + '\\n' -}}
    {%- endfor -%}"""
    assert probe_template(ChatRenderer({"default": source}, {})).forms.system == "message"
