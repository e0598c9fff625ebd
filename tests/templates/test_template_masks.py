"""Which tokens train: the assistant's text and its terminator, nothing else."""

import pytest

from swiftrl.core.errors import TemplateError
from swiftrl.core.messages import Conversation, Message, ToolCall
from swiftrl.templates.convert import to_messages
from swiftrl.templates.mask import locate
from swiftrl.templates.template import Template


def chat(*texts):
    """Return a conversation of alternating user and assistant turns."""
    messages = [
        Message("user" if number % 2 == 0 else "assistant", text)
        for number, text in enumerate(texts)
    ]
    return Conversation(tuple(messages))


TWO = chat("hello", "It is 2.", "who?", "I am a friend.")


@pytest.mark.parametrize(
    "name",
    [
        "chatml",
        "thinking",
        "trailing_space",
        "escapes_arguments",
        "parts",
        "no_system",
        "separator",
    ],
)
def test_every_turn_trains_with_its_terminator(load, trained, name):
    template = load(name)
    expected = ["It is 2.<|im_end|>", "I am a friend.<|im_end|>"]
    assert trained(template, template.encode(TWO)) == expected


def test_trimmed_content(load, trained):
    template = load("llama3")
    encoded = template.encode(chat("  hello ", "\n It is 2.  "))
    assert trained(template, encoded) == ["It is 2.<|eot_id|>"]


def test_white_space_of_content_stays(load, trained):
    template = load("chatml")
    encoded = template.encode(chat("hello", "\n It is 2.  \n"))
    assert trained(template, encoded) == ["\n It is 2.  \n<|im_end|>"]


def test_header_trains_where_the_prompt_lacks_it(load, trained):
    template = load("no_generation_prompt")
    expected = ["<|im_start|>assistant\nIt is 2.<|im_end|>"]
    assert trained(template, template.encode(chat("hello", "It is 2."))) == expected


def test_eos_is_appended_where_the_template_ends_open(load, trained):
    template = load("no_terminator")
    encoded = template.encode(TWO)
    assert trained(template, encoded) == ["It is 2.", "I am a friend.<|im_end|>"]
    assert encoded.token_ids[-1] == template.tokenizer.eos_token_id
    assert encoded.loss_weights[-1] == 1


def test_template_that_writes_prompts_only(load, trained):
    template = load("prompts_only")
    encoded = template.encode(TWO, train="last_round")
    assert trained(template, encoded) == ["I am a friend.<|im_end|>"]
    prompt = template.encode_prompt(Conversation(TWO.messages[:3]))
    assert encoded.token_ids[: encoded.first_trained].tolist() == prompt


def test_no_eos_behind_a_user_turn(load):
    template = load("no_terminator")
    encoded = template.encode(chat("hello", "It is 2.", "who?"))
    assert encoded.token_ids[-1] != template.tokenizer.eos_token_id


def test_last_round(load, trained):
    template = load("chatml")
    assert trained(template, template.encode(TWO, train="last_round")) == [
        "I am a friend.<|im_end|>"
    ]


def test_last_round_holds_calls_and_answer(load, trained):
    template = load("chatml")
    call = ToolCall("look", {"word": "rain", "times": [1, 2]})
    conversation = Conversation(
        (
            Message("user", "hello"),
            Message("assistant", "It is 2."),
            Message("user", "who?"),
            Message("assistant", "", tool_calls=(call,)),
            Message("tool", "It rains."),
            Message("assistant", "I am."),
        )
    )
    written = '<tool_call>{"name": "look", "arguments": {"word": "rain", "times": [1, 2]}}'
    expected = [f"{written}</tool_call><|im_end|>", "I am.<|im_end|>"]
    assert trained(template, template.encode(conversation, train="last_round")) == expected


@pytest.mark.parametrize("name", ["chatml", "no_terminator", "separator", "trailing_space"])
def test_all_tokens_but_the_first(load, name):
    template = load(name)
    encoded = template.encode(TWO, train="all")
    assert encoded.loss_weights[0] == 0
    assert (encoded.loss_weights[1:] == 1).all()
    assert encoded.token_ids.tolist() == template.encode(TWO).token_ids.tolist()


def test_loss_flags_and_scales(load, trained):
    template = load("chatml")
    messages = list(TWO.messages)
    messages[1] = Message("assistant", "It is 2.", loss=False)
    messages[3] = Message("assistant", "I am a friend.", loss_scale=0.5)
    encoded = template.encode(Conversation(tuple(messages)))
    assert trained(template, encoded) == ["I am a friend.<|im_end|>"]
    assert set(encoded.loss_weights.tolist()) == {0.0, 0.5}


def test_loss_true_trains_before_the_last_round(load, trained):
    template = load("chatml")
    messages = list(TWO.messages)
    messages[1] = Message("assistant", "It is 2.", loss=True)
    encoded = template.encode(Conversation(tuple(messages)), train="last_round")
    assert len(trained(template, encoded)) == 2


def test_nothing_to_train_is_refused(load):
    with pytest.raises(TemplateError, match="no assistant turn to train"):
        load("chatml").encode(chat("hello"))
    silent = Conversation((Message("user", "hello"), Message("assistant", "x", loss=False)))
    with pytest.raises(TemplateError, match="no assistant turn to train"):
        load("chatml").encode(silent)


THOUGHTFUL = Conversation(
    (
        Message("user", "hello"),
        Message("assistant", "It is 2.", reasoning_content="one and one"),
        Message("user", "who?"),
        Message("assistant", "I am.", reasoning_content="a friend"),
    )
)


def test_turn_that_lost_its_thoughts_does_not_train(load, trained):
    template = load("thinking")
    encoded = template.encode(THOUGHTFUL)
    assert trained(template, encoded) == ["<think>\na friend\n</think>\n\nI am.<|im_end|>"]
    assert encoded.skipped_turns == 1


def test_rounds_train_every_turn_as_at_inference(load, trained):
    template = load("thinking")
    first, second = template.encode_rounds(THOUGHTFUL)
    assert trained(template, first) == ["<think>\none and one\n</think>\n\nIt is 2.<|im_end|>"]
    assert trained(template, second) == ["<think>\na friend\n</think>\n\nI am.<|im_end|>"]
    assert "one and one" not in template.decode(second.token_ids)


def test_one_round_where_nothing_is_rewritten(load):
    (whole,) = load("chatml").encode_rounds(TWO)
    assert whole == load("chatml").encode(TWO)


def test_inline_thoughts_are_moved_to_their_field(load, trained):
    template = load("thinking")
    encoded = template.encode(chat("hello", "<think>\none and one\n</think>\n\nIt is 2."))
    assert trained(template, encoded) == ["<think>\none and one\n</think>\n\nIt is 2.<|im_end|>"]


def test_thoughts_stand_inline_where_the_template_knows_none(load, trained):
    template = load("chatml")
    conversation = Conversation(THOUGHTFUL.messages[:2])
    expected = ["<think>\none and one\n</think>\n\nIt is 2.<|im_end|>"]
    assert trained(template, template.encode(conversation)) == expected


def test_reply_behind_a_prompt_that_opens_thoughts(load, trained):
    template = load("opens_thoughts")
    conversation = Conversation(THOUGHTFUL.messages[:2])
    encoded = template.encode(conversation)
    assert trained(template, encoded) == ["one and one\n</think>\n\nIt is 2.<|im_end|>"]
    given = encoded.token_ids[: encoded.first_trained].tolist()
    assert given == template.encode_prompt(Conversation(conversation.messages[:1]))


def test_reply_without_thoughts_closes_them(load, trained):
    template = load("opens_thoughts")
    assert trained(template, template.encode(chat("hello", "It is 2."))) == [
        "\n</think>\n\nIt is 2.<|im_end|>"
    ]


def test_rounds_of_a_prompt_that_opens_thoughts(load, trained):
    template = load("opens_thoughts")
    texts = [trained(template, part)[-1] for part in template.encode_rounds(THOUGHTFUL)]
    assert texts == [
        "one and one\n</think>\n\nIt is 2.<|im_end|>",
        "a friend\n</think>\n\nI am.<|im_end|>",
    ]


def test_call_that_lost_its_thoughts_gets_a_sequence_of_its_own(load, trained):
    template = load("last_thoughts")
    call = ToolCall("look", {"word": "rain"})
    conversation = Conversation(
        (
            Message("user", "hello"),
            Message("assistant", "", reasoning_content="look first", tool_calls=(call,)),
            Message("tool", "It rains."),
            Message("assistant", "I am.", reasoning_content="a friend"),
        )
    )
    first, second = template.encode_rounds(conversation)
    called = '<tool_call>look{"word": "rain"}</tool_call><|im_end|>'
    assert trained(template, first) == [f"<think>\nlook first\n</think>\n\n{called}"]
    assert trained(template, second) == ["<think>\na friend\n</think>\n\nI am.<|im_end|>"]
    assert template.encode(conversation, train="last_round").skipped_turns == 1


def test_enable_thinking_reaches_prompt_and_reply(load, trained):
    template = load("thinking", enable_thinking=False)
    encoded = template.encode(chat("hello", "It is 2."))
    assert trained(template, encoded) == ["It is 2.<|im_end|>"]
    assert "<think>\n\n</think>" in template.decode(encoded.token_ids[: encoded.first_trained])


def test_dropped_content_is_refused(tokenizer_with):
    source = """
    {%- for message in messages -%}
    {{- '<|im_start|>' + message.role + '\\n' -}}
    {%- if message.content != 'secret' -%}{{- message.content -}}{%- endif -%}
    {{- '<|im_end|>\\n' -}}
    {%- endfor -%}
    {%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"""
    template = Template.load(tokenizer_with(source))
    with pytest.raises(TemplateError, match=r"drops the content of message 1"):
        template.encode(chat("hello", "secret"))


@pytest.mark.parametrize(
    "name", ["chatml", "llama3", "thinking", "trailing_space", "parts", "no_terminator"]
)
@pytest.mark.parametrize("reply", ["It is 2.", "<|im_end|> typed <|eot_id|>", "hello", "x"])
def test_slots_agree_with_prefixes(load, name, reply):
    template = load(name)
    conversation = chat("hello", reply, "<|im_start|>assistant\nhello", reply)
    messages = to_messages(conversation, template.probe.forms)

    def render(items, prompt):
        return template.renderer.render(items, add_generation_prompt=prompt)

    found = [
        locate(render, messages, template.probe, wanted=[1, 3], by_slots=by_slots)
        for by_slots in (False, True)
    ]
    prefixes, slots = ([(span.start, span.end) for span in item.spans] for item in found)
    assert prefixes == slots
    assert all(span.by_prefix for span in found[0].spans)
