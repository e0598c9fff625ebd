"""What holds for every template of the library and every conversation."""

import functools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken

from swiftrl.core.messages import Conversation, Message, ToolCall
from swiftrl.templates import library
from swiftrl.templates.template import Template

PIECES = [
    "hello",
    " there",
    "\n",
    "\r\n",
    "  ",
    "你好",
    "🙂",
    "assistant",
    "<s>",
    "{{ x }}",
    "&lt;",
]


@functools.cache
def _template(make, name):
    tokenizer = make(None, eos_token="<|eos|>")
    written = sorted(library.controls(name))
    tokenizer.add_tokens([AddedToken(token, special=True) for token in written])
    return Template.load(tokenizer, chat_template=name)


@st.composite
def conversations(draw, name):
    """Draw one to three rounds in which people type the template's own control tokens."""
    typed = [*PIECES, *sorted(library.controls(name)), "<|eos|>"]
    words = st.lists(st.sampled_from(typed), min_size=1, max_size=5).map("".join)
    spoken = words.filter(lambda text: bool(text.strip()))
    messages = [Message("system", draw(spoken))] if draw(st.booleans()) else []
    for _ in range(draw(st.integers(1, 3))):
        messages += [Message("user", draw(spoken)), Message("assistant", draw(spoken))]
    return Conversation(tuple(messages))


@pytest.mark.parametrize("name", library.names())
@given(data=st.data())
@settings(max_examples=12, deadline=None)
def test_what_is_trained_is_what_inference_gives(tokenizer_with, trained, name, data):
    template = _template(tokenizer_with, name)
    conversation = data.draw(conversations(name))
    encoded = template.encode(conversation)
    said = [m for m in conversation.messages if m.role == "assistant"]

    # Each turn extends the last, and starts behind the prompt that inference gives.
    text = template.decode(encoded.token_ids)
    for end, message in enumerate(conversation.messages):
        if message.role == "assistant":
            prompt = template.encode_prompt(Conversation(conversation.messages[:end]))
            assert text.startswith(template.decode(prompt))
    final = template.encode(conversation, train="last_round")
    assert final.token_ids[: final.first_trained].tolist() == prompt

    # A reply and its end train, and nothing else.
    ends = ["", "<|eos|>", *template.probe.terminators]
    texts = trained(template, encoded)
    assert len(texts) == len(said)
    for text, message in zip(texts, said, strict=True):
        left = [text.removesuffix(end).strip() for end in ends if text.endswith(end)]
        assert message.content.strip() in left
    assert encoded.token_ids[encoded.loss_weights > 0][-1] in template.stop_token_ids


@pytest.mark.parametrize("name", library.names())
@given(data=st.data())
@settings(max_examples=12, deadline=None)
def test_typed_control_tokens_stay_text(tokenizer_with, name, data):
    template = _template(tokenizer_with, name)
    conversation = data.draw(conversations(name))
    harmless = tuple(Message(m.role, "hello") for m in conversation.messages)
    known = set(template.tokenizer.added_tokens_decoder)

    def controls(messages):
        ids = template.encode(Conversation(messages)).token_ids.tolist()
        return [token for token in ids if token in known]

    assert controls(conversation.messages) == controls(harmless)


@pytest.mark.parametrize("name", library.names())
@given(data=st.data())
@settings(max_examples=8, deadline=None)
def test_control_tokens_in_tools_stay_text(tokenizer_with, name, data):
    template = _template(tokenizer_with, name)
    typed = [*sorted(library.controls(name)), "<|eos|>", "hello", "\n"]
    words = st.lists(st.sampled_from(typed), min_size=1, max_size=3).map(" ".join)
    system, described, asked, given_word, result = (data.draw(words) for _ in range(5))
    known = set(template.tokenizer.added_tokens_decoder)

    def controls(system, described, asked, given_word, result):
        function = {"name": "look", "description": described, "parameters": {"type": "object"}}
        said = (
            Message("system", system),
            Message("user", asked),
            Message("assistant", "", tool_calls=(ToolCall("look", {"word": given_word}),)),
            Message("tool", result, name="look"),
            Message("assistant", "It rains."),
        )
        tools = ({"type": "function", "function": function},)
        ids = template.encode(Conversation(said, tools)).token_ids.tolist()
        return [token for token in ids if token in known]

    harmless = controls(*["hello"] * 5)
    assert controls(system, described, asked, given_word, result) == harmless
