"""Templates that do what few others do: masks, prompts and errors hold all the same."""

import pytest
from jinja2 import TemplateError as JinjaError

from swiftrl.core.errors import TemplateError
from swiftrl.core.messages import Conversation, Message, ToolCall
from swiftrl.templates.mask import locate
from swiftrl.templates.template import Template

PROMPT = "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"
HEADER = "'<|im_start|>' + m.role + '\\n'"
TURN = f"{{{{- {HEADER} + m.content + '<|im_end|>\\n' -}}}}"
LOOP = "{%- for m in messages -%}" + TURN + "{%- endfor -%}"
FIRST, FINAL = "It is 2.<|im_end|>", "I am a friend.<|im_end|>"
EARLIER = "{%- if m.role == 'assistant' and not loop.last -%}"


def turn_written(content):
    return (
        "{%- for m in messages -%}{{- "
        + HEADER
        + " -}}"
        + content
        + "{{- '<|im_end|>\\n' -}}{%- endfor -%}"
        + PROMPT
    )


# Name -> Jinja, and the spans that train in each of the sequences of a conversation.
ODD = {
    "marked content": (
        turn_written(
            "{%- if m.role == 'assistant' -%}"
            "{%- generation -%}{{- m.content -}}{%- endgeneration -%}"
            "{%- else -%}{{- m.content -}}{%- endif -%}"
        ),
        [[FIRST, FINAL]],
    ),
    "marked header": (
        "{%- for m in messages -%}{%- if m.role == 'assistant' -%}{%- generation -%}"
        + TURN
        + "{%- endgeneration -%}{%- else -%}"
        + TURN
        + "{%- endif -%}{%- endfor -%}"
        + PROMPT,
        [[FIRST, FINAL]],
    ),
    "earlier replies replaced": (
        turn_written(EARLIER + "{{- '[earlier]' -}}{%- else -%}{{- m.content -}}{%- endif -%}"),
        [[FIRST], [FINAL]],
    ),
    "earlier replies cut": (
        turn_written(EARLIER + "{{- m.content[:4] -}}{%- else -%}{{- m.content -}}{%- endif -%}"),
        [[FIRST], [FINAL]],
    ),
    "messages counted": (
        "{{- '<|im_start|>system\\n' ~ (messages | length) ~ '<|im_end|>\\n' -}}" + LOOP + PROMPT,
        [[FIRST], [FINAL]],
    ),
    "another end behind the last": (
        "{%- for m in messages -%}{{- "
        + HEADER
        + " + m.content -}}"
        + "{{- '<|eot_id|>' if loop.last and m.role == 'assistant' else '<|im_end|>\\n' -}}"
        + "{%- endfor -%}"
        + PROMPT,
        [[FIRST, "I am a friend.<|eot_id|>"]],
    ),
    "date": (
        "{{- '<|im_start|>system\\n' + strftime_now('%d %b %Y') + '<|im_end|>\\n' -}}"
        + LOOP
        + PROMPT,
        [[FIRST, FINAL]],
    ),
    "macro": (
        "{%- macro turn(m) -%}"
        + TURN
        + "{%- endmacro -%}"
        + "{%- for m in messages -%}{{- turn(m) -}}{%- endfor -%}"
        + PROMPT,
        [[FIRST, FINAL]],
    ),
    "prompt always": (
        LOOP + "{{- '<|im_start|>assistant\\n' -}}",
        [[FIRST, FINAL]],
    ),
    "prompt always, nothing ends a turn": (
        "{%- for m in messages -%}"
        "{{- '### Reply:\\n' if m.role == 'assistant' else '### Question:\\n' -}}"
        "{{- m.content + '\\n\\n' -}}{%- endfor -%}{{- '### Reply:\\n' -}}",
        [["It is 2.", FINAL]],
    ),
    "prompt always, a frame around replies": (
        "{{- '<|im_start|>system\\nFrames.<|im_end|>' -}}{%- for m in messages -%}"
        "{{- '<|im_start|>' + m.role + '\\n' -}}"
        "{{- '<think>' + m.content + '</think>' if m.role == 'assistant' else m.content -}}"
        "{{- '<|im_end|>' -}}{%- endfor -%}"
        "{{- '<|im_start|>assistant\\n' -}}",
        [["<think>It is 2.</think><|im_end|>", "<think>I am a friend.</think><|im_end|>"]],
    ),
    "instructions behind the last": (
        LOOP
        + PROMPT
        + "{%- if not add_generation_prompt -%}"
        + "{{- 'Say now whether the last reply was safe.\\n' -}}{%- endif -%}",
        [[FIRST, FINAL]],
    ),
    "numbered rounds": (
        "{%- for m in messages -%}"
        "{{- '[Round ' ~ (loop.index0 // 2) ~ ']\\n' if m.role == 'user' else '' -}}"
        "{{- ('问：' if m.role == 'user' else '答：') + m.content + '\\n\\n' -}}{%- endfor -%}"
        "{%- if add_generation_prompt -%}{{- '答：' -}}{%- endif -%}",
        [["It is 2.", FINAL]],
    ),
}
CHAT = Conversation(
    (
        Message("user", "hello"),
        Message("assistant", "It is 2."),
        Message("user", "who?"),
        Message("assistant", "I am a friend."),
    )
)


@pytest.mark.parametrize("name", ODD)
def test_each_reply_and_its_end_train(tokenizer_with, trained, name):
    source, expected = ODD[name]
    template = Template.load(tokenizer_with(source))
    sequences = template.encode_rounds(CHAT)
    assert [trained(template, encoded) for encoded in sequences] == expected


@pytest.mark.parametrize("name", ODD)
def test_prompt_is_that_of_inference(tokenizer_with, name):
    template = Template.load(tokenizer_with(ODD[name][0]))
    encoded = template.encode(CHAT, train="last_round")
    prompt = template.encode_prompt(Conversation(CHAT.messages[:-1]))
    assert encoded.token_ids[: encoded.first_trained].tolist() == prompt


@pytest.mark.parametrize(
    "word", ["hello", "assistant", "user", "<|im_end|>", "\r\n \u2028é\r\n.", "2"]
)
@pytest.mark.parametrize("name", ["macro", "messages counted", "another end behind the last"])
def test_what_is_said_repeatedly_is_told_apart(tokenizer_with, trained, name, word):
    template = Template.load(tokenizer_with(ODD[name][0]))
    said = [Message(role, word) for role in ("user", "assistant") * 2]
    texts = [
        text
        for encoded in template.encode_rounds(Conversation(tuple(said)))
        for text in trained(template, encoded)
    ]
    assert len(texts) == 2
    for text in texts:
        assert text in (f"{word}<|im_end|>", f"{word}<|eot_id|>")


def test_thoughts_in_the_content_may_be_opened_by_the_prompt(tokenizer_with, trained):
    source = LOOP + PROMPT.replace("assistant\\n", "assistant\\n<think>\\n")
    template = Template.load(tokenizer_with(source))
    thoughtful = Message("assistant", "<think>\nIt is.\n</think>\n\nI am.")
    said = Conversation((*CHAT.messages[:3], thoughtful))
    encoded = template.encode(said, train="last_round")
    assert trained(template, encoded) == ["It is.\n</think>\n\nI am.<|im_end|>"]
    prompt = template.encode_prompt(Conversation(said.messages[:3]))
    assert encoded.token_ids[: encoded.first_trained].tolist() == prompt


def test_an_empty_reply_trains_its_end(tokenizer_with, trained):
    said = (*CHAT.messages[:1], Message("assistant", ""), *CHAT.messages[2:])
    for name in ("macro", "messages counted"):
        template = Template.load(tokenizer_with(ODD[name][0]))
        sequences = template.encode_rounds(Conversation(said))
        texts = [text for encoded in sequences for text in trained(template, encoded)]
        assert texts == ["<|im_end|>", FINAL]


def test_an_empty_reply_without_an_end_is_refused(tokenizer_with):
    template = Template.load(tokenizer_with(ODD["numbered rounds"][0]))
    said = (*CHAT.messages[:1], Message("assistant", ""), *CHAT.messages[2:])
    with pytest.raises(TemplateError, match=r"message 1 \(assistant\) is empty"):
        template.encode(Conversation(said))


def test_a_tools_result_inside_a_turn_never_trains(tokenizer_with):
    """Calls first, then the tool's answer, then what was said beside the calls."""
    source = """
    {%- for m in messages if m.role != 'tool' -%}
    {{- '<|im_start|>' + m.role + '\\n' -}}
    {%- for call in m.tool_calls or [] -%}
    {{- '<tool_call>' + call.function.name + (call.function.arguments | tojson) -}}
    {%- for other in messages if other.role == 'tool' -%}{{- '<tool_response>' + other.content -}}
    {%- endfor -%}{%- endfor -%}
    {{- m.content + '<|im_end|>\\n' -}}
    {%- endfor -%}"""
    template = Template.load(tokenizer_with(source))
    call = {"type": "function", "function": {"name": "look", "arguments": {"word": "rain"}}}
    said = [
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": "Wait.", "tool_calls": [call]},
        {"role": "tool", "content": "It rains."},
        {"role": "assistant", "content": "I am."},
    ]

    def render(messages, add_generation_prompt):
        return template.renderer.render(messages, add_generation_prompt=add_generation_prompt)

    found = locate(render, said, template.probe, wanted=[1, 3])
    assert found.hidden == (1,)
    written = [found.text[span.start : span.end] for span in found.spans]
    assert written == ["<|im_start|>assistant\nI am.<|im_end|>"]


def test_renderer_of_prompts_is_the_vendors(load):
    template = load("prompts_only")
    with pytest.raises(TemplateError, match="the last message must be of the user") as refusal:
        template.render(CHAT)
    assert isinstance(refusal.value.__cause__, JinjaError)
    assert template.encode(CHAT).num_trained


def test_calls_train_where_a_template_shows_no_tools(load, capsys):
    template = load("thinking", system=None)  # one that has told no other test
    tool = {"type": "function", "function": {"name": "look", "parameters": {}}}
    call = Message("assistant", "", tool_calls=(ToolCall("look", {"word": "rain"}),))
    said = Conversation((*CHAT.messages[:1], call), (tool,))
    assert template.encode(said).num_trained == template.encode(said).num_trained > 0
    assert capsys.readouterr().err.count("writes no tools into the text") == 1
