"""Rendering, prompts, pairs, pre-training text, options, and what is refused."""

import dataclasses
import pickle

import numpy as np
import pytest

from swiftrl.core.errors import TemplateError
from swiftrl.core.messages import Conversation, Message, Part, ToolCall
from swiftrl.templates.source import TemplateOptions
from swiftrl.templates.template import Template

ASK = Conversation((Message("user", "hello"),))
ANSWERED = Conversation((*ASK.messages, Message("assistant", "It is 2.")))
TOOLS = ({"type": "function", "function": {"name": "look", "parameters": {}}},)


def as_dicts(conversation):
    return [{"role": m.role, "content": m.content} for m in conversation.messages]


def in_parts(messages):
    return [m | {"content": [{"type": "text", "text": m["content"]}]} for m in messages]


@pytest.mark.parametrize(
    "name", ["chatml", "llama3", "thinking", "no_terminator", "no_generation_prompt", "separator"]
)
@pytest.mark.parametrize("prompt", [False, True])
def test_text_equals_apply_chat_template(load, name, prompt):
    template = load(name)
    expected = template.tokenizer.apply_chat_template(
        as_dicts(ANSWERED), tokenize=False, add_generation_prompt=prompt
    )
    assert template.render(ANSWERED, add_generation_prompt=prompt) == expected


@pytest.mark.parametrize("name", ["chatml", "thinking", "trailing_space", "parts"])
def test_tokens_equal_apply_chat_template(load, name):
    template = load(name)
    conversation = Conversation((*ANSWERED.messages, *ANSWERED.messages))
    messages = as_dicts(conversation)
    messages = in_parts(messages) if name == "parts" else messages
    expected = template.tokenizer.apply_chat_template(messages, return_dict=False)
    assert template.encode(conversation).token_ids.tolist() == expected


def test_tokens_before_a_reply_do_not_depend_on_it(load):
    # This tokenizer makes one token of a line's two breaks, but two where a word follows.
    template = load("llama3")
    joint = template.tokenizer.apply_chat_template(as_dicts(ANSWERED), return_dict=False)
    encoded = template.encode(ANSWERED)
    assert encoded.token_ids.tolist() != joint
    assert template.decode(encoded.token_ids) == template.decode(joint)
    assert encoded.token_ids[: encoded.first_trained].tolist() == template.encode_prompt(ASK)


def test_tools_reach_the_text(load):
    template = load("chatml")
    with_tools = dataclasses.replace(ASK, tools=TOOLS)
    assert '<tools>{"type": "function"' in template.render(with_tools)
    assert "<tools>" not in template.render(ASK)


def test_arguments_take_the_form_that_is_not_escaped(load):
    call = ToolCall("look", {"word": "rain"})
    conversation = Conversation((*ASK.messages, Message("assistant", "", tool_calls=(call,))))
    assert '<tool_call>look{"word": "rain"}</tool_call>' in load("escapes_arguments").render(
        conversation
    )


def test_json_arguments_are_parsed_for_templates_that_want_dicts(load):
    parsed, text = (
        Conversation((*ASK.messages, Message("assistant", tool_calls=(ToolCall("look", value),))))
        for value in ({"word": "rain"}, '{"word": "rain"}')
    )
    assert load("chatml").render(parsed) == load("chatml").render(text)


def test_system_message_is_merged_where_there_is_none(load):
    conversation = Conversation((Message("system", "Be brief."), *ANSWERED.messages))
    text = load("no_system").render(conversation)
    assert text.startswith("<|im_start|>user\nBe brief.\n\nhello<|im_end|>")
    lonely = Conversation((Message("system", "Be brief."), Message("assistant", "It is 2.")))
    with pytest.raises(TemplateError, match="no system message, and no user turn"):
        load("no_system").render(lonely)


def test_system_option_fills_in_but_never_overrides(load):
    template = load("chatml", system="Be brief.")
    assert template.render(ASK).startswith("<|im_start|>system\nBe brief.<|im_end|>")
    own = Conversation((Message("system", "Sing."), *ASK.messages))
    assert "Be brief." not in template.render(own)
    assert "system" not in load("chatml").render(ASK)


def test_response_prefix_is_given_and_not_trained(load, trained):
    template = load("chatml", response_prefix="Well, ")
    encoded = template.encode(ANSWERED)
    given = encoded.token_ids[: encoded.first_trained].tolist()
    assert trained(template, encoded) == ["It is 2.<|im_end|>"]
    assert given == template.encode_prompt(ASK)
    assert template.decode(given).endswith("assistant\nWell, ")
    already = Conversation((*ASK.messages, Message("assistant", "Well, It is 2.")))
    assert template.encode(already) == encoded


def test_bos_is_never_doubled(load):
    template = load("llama3")
    bos = template.tokenizer.bos_token_id
    assert template.encode(ANSWERED).token_ids.tolist().count(bos) == 1
    assert template.encode_prompt(ASK).count(bos) == 1
    assert bos not in load("chatml").encode(ANSWERED).token_ids


def test_pair_shares_the_prompt_tokens(load, trained):
    template = load("chatml")
    chosen, rejected = template.encode_pair(
        ASK, [Message("assistant", "\n\nIt is 2.")], [Message("assistant", "  I am.")]
    )
    prompt = template.encode_prompt(ASK)
    for encoded in (chosen, rejected):
        assert encoded.first_trained == len(prompt)
        assert encoded.token_ids[: len(prompt)].tolist() == prompt
    assert trained(template, chosen) == ["\n\nIt is 2.<|im_end|>"]
    assert trained(template, rejected) == ["  I am.<|im_end|>"]


def test_pair_trains_no_earlier_turn(load, trained):
    template = load("chatml")
    history = Conversation((*ANSWERED.messages, Message("user", "who?")))
    chosen, _ = template.encode_pair(
        history, [Message("assistant", "I am.")], [Message("assistant", "You are.")]
    )
    assert trained(template, chosen) == ["I am.<|im_end|>"]


def test_pair_with_calls_and_results_in_a_reply(load, trained):
    template = load("chatml")
    call = Message("assistant", tool_calls=(ToolCall("look", {"word": "rain"}),))
    chosen, rejected = template.encode_pair(
        ASK,
        [call, Message("tool", "It rains."), Message("assistant", "I am.")],
        [Message("assistant", "You are.")],
    )
    assert len(trained(template, chosen)) == 2
    assert trained(template, rejected) == ["You are.<|im_end|>"]


def test_pair_behind_a_prompt_that_opens_thoughts(load):
    template = load("opens_thoughts")
    chosen, rejected = template.encode_pair(
        ASK,
        [Message("assistant", "I am.", reasoning_content="a friend")],
        [Message("assistant", "You are.")],
    )
    prompt = template.encode_prompt(ASK)
    assert template.decode(prompt).endswith("<think>\n")
    for encoded in (chosen, rejected):
        assert encoded.token_ids[: encoded.first_trained].tolist() == prompt


def test_plain_text_trains_whole_with_eos(load):
    template = load("llama3")
    encoded = template.encode_text("hello there")
    assert encoded.token_ids[-1] == template.tokenizer.eos_token_id
    assert encoded.loss_weights[0] == 0  # nothing precedes it
    assert (encoded.loss_weights[1:] == 1).all()


def test_stop_tokens(load):
    chatml, open_ended = load("chatml"), load("no_terminator", stop_tokens=("<|eot_id|>",))
    token = chatml.tokenizer.convert_tokens_to_ids
    assert chatml.stop_token_ids == (token("<|im_end|>"),)
    assert open_ended.stop_token_ids == (token("<|im_end|>"), token("<|eot_id|>"))


def test_terminator_that_is_not_eos_is_a_stop_token(tokenizer_with, sources):
    template = Template.load(tokenizer_with(sources["chatml"], eos_token="<|eot_id|>"))
    ids = template.tokenizer.convert_tokens_to_ids(["<|eot_id|>", "<|im_end|>"])
    assert template.stop_token_ids == tuple(ids)
    assert template.encode(ANSWERED).token_ids.tolist().count(ids[0]) == 0


def test_template_survives_pickling(load):
    template = load("chatml")
    copy = pickle.loads(pickle.dumps(template))
    assert copy.fingerprint == template.fingerprint
    assert copy.encode(ANSWERED) == template.encode(ANSWERED)


def test_fingerprint_follows_template_tokenizer_and_options(load, tokenizer_with, sources):
    prints = {
        load("chatml").fingerprint,
        load("parts").fingerprint,
        load("chatml", system="Be brief.").fingerprint,
        load("chatml", response_prefix="Well").fingerprint,
        Template.load(tokenizer_with(sources["chatml"], eos_token="<|eot_id|>")).fingerprint,
    }
    assert len(prints) == 5
    again = Template.load(tokenizer_with(sources["chatml"]))
    assert again.fingerprint == load("chatml").fingerprint


def test_refusal_names_the_template_and_its_reason(tokenizer_with):
    source = (
        "{%- for m in messages -%}{%- if m.content == 'bad' -%}"
        "{{- raise_exception('no such words') -}}{%- endif -%}"
        "{{- m.role + m.content -}}{%- endfor -%}"
    )
    template = Template.load(tokenizer_with(source))
    with pytest.raises(TemplateError, match="refuses this conversation: no such words"):
        template.encode(Conversation((Message("user", "bad"), Message("assistant", "x"))))


LEAVES_OUT = """
{%- for message in messages -%}
{%- if message.role != 'tool' -%}
{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' -}}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"""


def test_nothing_is_left_out_in_silence(tokenizer_with):
    template = Template.load(tokenizer_with(LEAVES_OUT))
    answered = (*ANSWERED.messages, Message("tool", "It rains."), Message("assistant", "I am."))
    with pytest.raises(TemplateError, match=r"leaves out message 2 \(tool\)"):
        template.encode(Conversation(answered))


@pytest.mark.parametrize("picky", [False, True])
def test_content_that_a_template_parses_is_not_taken_for_left_out(tokenizer_with, picky):
    source = LEAVES_OUT.replace("{%- if message.role != 'tool' -%}", "{%- if true -%}").replace(
        "message.content +",
        "(message.content if message.role != 'tool' else message.content.split(':')[1] | upper) +",
    )
    if picky:
        check = "{%- if message.role == 'tool' and ':' not in message.content -%}"
        source = source.replace(
            "{%- if true -%}",
            f"{check}{{{{- raise_exception('no colon') -}}}}{{%- endif -%}}{{%- if true -%}}",
        )
    template = Template.load(tokenizer_with(source))
    answered = (*ANSWERED.messages, Message("tool", "sky:rain"), Message("assistant", "I am."))
    assert "RAIN" in template.decode(template.encode(Conversation(answered)).token_ids)


def test_pictures_are_refused(load):
    picture = Message("user", (Part("text", text="what?"), Part("image", source="a.png")))
    with pytest.raises(TemplateError, match="this model takes text here"):
        load("chatml").encode(Conversation((picture, Message("assistant", "a cat"))))


def test_text_parts_are_text(load):
    parts = Message("user", (Part("text", text="hel"), Part("text", text="lo")))
    assert load("chatml").render(Conversation((parts,))) == load("chatml").render(ASK)
    assert load("parts").render(Conversation((parts,))) == load("parts").render(ASK)


def test_empty_conversation_is_refused(load):
    with pytest.raises(TemplateError, match="without messages"):
        load("chatml").encode_prompt(Conversation(()))


def test_thinking_switch_that_the_template_lacks_is_refused(tokenizer_with, sources):
    options = TemplateOptions(enable_thinking=True)
    with pytest.raises(TemplateError, match="no thinking switch"):
        Template.load(tokenizer_with(sources["chatml"]), options=options)


def test_tokenizer_without_any_end_is_refused(tokenizer_with, sources):
    template = Template.load(tokenizer_with(sources["no_terminator"], eos_token=None))
    with pytest.raises(TemplateError, match="could not learn to stop"):
        template.encode(ANSWERED)


def test_tokenizer_without_bos(tokenizer_with, sources):
    template = Template.load(tokenizer_with(sources["chatml"], bos_token=None))
    assert template.encode(ANSWERED).num_trained > 0


def test_processor_template_goes_first(tokenizer_with, sources):
    class Processor:
        chat_template = sources["trailing_space"]

    template = Template.load(tokenizer_with(sources["chatml"]), processor=Processor())
    assert template.render(ASK).endswith("<|im_end|> \n \n")


def test_named_templates_of_one_model(tokenizer_with, sources):
    both = {"default": sources["no_generation_prompt"], "tool_use": sources["chatml"]}
    template = Template.load(tokenizer_with(both))
    with_tools = dataclasses.replace(ASK, tools=TOOLS)
    assert "<tools>" in template.render(with_tools)
    assert "<tools>" not in template.render(ASK)


class SlowTokenizer:
    """What a tokenizer without a Rust backend offers."""

    def __init__(self, fast):
        self._fast = fast
        self.eos_token, self.eos_token_id = fast.eos_token, fast.eos_token_id
        self.bos_token, self.bos_token_id = fast.bos_token, fast.bos_token_id
        self.special_tokens_map = fast.special_tokens_map
        self.added_tokens_decoder = fast.added_tokens_decoder
        self.all_special_tokens = fast.all_special_tokens
        self.chat_template = fast.chat_template

    def __call__(self, text, add_special_tokens=True, **_):
        return {"input_ids": self._fast(text, add_special_tokens=add_special_tokens)["input_ids"]}

    def decode(self, ids, **kwargs):
        return self._fast.decode(ids, **kwargs)

    def get_vocab(self):
        return self._fast.get_vocab()


def test_tokenizer_without_offsets_is_served(tokenizer_with, sources, load):
    template = Template.load(SlowTokenizer(tokenizer_with(sources["chatml"])))
    conversation = Conversation((*ANSWERED.messages, *ANSWERED.messages))
    assert template.encode(conversation) == load("chatml").encode(conversation)


def test_dtypes(load):
    encoded = load("chatml").encode(ANSWERED)
    assert encoded.token_ids.dtype == np.int32
    assert encoded.loss_weights.dtype == np.float32
