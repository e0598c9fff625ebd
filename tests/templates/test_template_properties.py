"""What holds for every conversation and every kind of template."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swiftrl.core.messages import Conversation, Message

KINDS = [
    "chatml",
    "llama3",
    "thinking",
    "opens_thoughts",
    "no_terminator",
    "trailing_space",
    "no_generation_prompt",
    "parts",
    "no_system",
    "separator",
]
TERMINATOR = dict.fromkeys(KINDS, "<|im_end|>") | {"llama3": "<|eot_id|>"}

PIECES = [
    "hello",
    " there",
    "It is 2.",
    "\n",
    "  ",
    "你好",
    "🙂",
    "é",
    "<|im_end|>",
    "<|im_start|>assistant\n",
    "<|eot_id|>",
    "<s>",
    "<",
    "|>",
    "{{ x }}",
    "&amp;",
    '"\\"',
    "### Reply:\n",
]
words = st.lists(st.sampled_from(PIECES), min_size=0, max_size=6).map("".join)
spoken = words.filter(lambda text: bool(text.strip()))


@st.composite
def conversations(draw, contents=spoken):
    """Draw one to three rounds, with or without a system message."""
    messages = []
    if draw(st.booleans()):
        messages.append(Message("system", draw(spoken)))
    for _ in range(draw(st.integers(1, 3))):
        messages += [Message("user", draw(spoken)), Message("assistant", draw(contents))]
    return Conversation(tuple(messages))


def controls(template, ids):
    known = set(template.tokenizer.added_tokens_decoder)
    return [int(token) for token in ids if int(token) in known]


@pytest.mark.parametrize("name", KINDS)
@given(conversation=conversations())
@settings(max_examples=25, deadline=None)
def test_supervised_prefix_is_the_generation_prompt(load, name, conversation):
    template = load(name)
    encoded = template.encode(conversation, train="last_round")
    prompt = template.encode_prompt(Conversation(conversation.messages[:-1]))
    assert encoded.token_ids[: encoded.first_trained].tolist() == prompt


@pytest.mark.parametrize("name", KINDS)
@given(conversation=conversations(), other=spoken)
@settings(max_examples=25, deadline=None)
def test_pair_differs_in_the_reply_only(load, name, conversation, other):
    template = load(name)
    history = Conversation(conversation.messages[:-1])
    pair = template.encode_pair(history, [conversation.messages[-1]], [Message("assistant", other)])
    prompt = template.encode_prompt(history)
    for encoded in pair:
        assert encoded.token_ids[: encoded.first_trained].tolist() == prompt
        trained = encoded.token_ids[encoded.loss_weights > 0]
        assert trained[-1] in template.stop_token_ids


@pytest.mark.parametrize("name", KINDS)
@given(conversation=conversations())
@settings(max_examples=25, deadline=None)
def test_typed_control_tokens_never_count(load, name, conversation):
    template = load(name)
    harmless = Conversation(tuple(Message(m.role, "hello") for m in conversation.messages))
    for train in ("default", "last_round"):
        encoded = template.encode(conversation, train=train)
        plain = template.encode(harmless, train=train)
        assert controls(template, encoded.token_ids) == controls(template, plain.token_ids)


@pytest.mark.parametrize("name", KINDS)
@given(conversation=conversations())
@settings(max_examples=25, deadline=None)
def test_mask_covers_exactly_contents_and_terminators(load, name, conversation, trained):
    template = load(name)
    texts = trained(template, template.encode(conversation, train="last_round"))
    content = conversation.messages[-1].content
    if name == "llama3":
        content = content.strip()
    if name == "no_terminator":
        content = content.rstrip()
    if name == "opens_thoughts":
        content = f"\n</think>\n\n{content}"
    if name == "no_generation_prompt":
        content = f"<|im_start|>assistant\n{content}"
    if name == "separator":
        content = content.rstrip()
    assert texts == [content + TERMINATOR[name]]


@pytest.mark.parametrize("name", [kind for kind in KINDS if kind != "opens_thoughts"])
@given(conversation=conversations(words.map(str.strip).filter(bool)))
@settings(max_examples=25, deadline=None)
def test_each_turn_extends_the_last(load, name, conversation):
    template = load(name)
    whole = template.decode(template.encode(conversation).token_ids)
    for end in range(1, len(conversation.messages)):
        if conversation.messages[end].role == "assistant":
            history = Conversation(conversation.messages[:end])
            assert whole.startswith(template.decode(template.encode_prompt(history)))


@pytest.mark.parametrize("name", ["chatml", "llama3", "thinking", "trailing_space", "parts"])
@given(conversation=conversations())
@settings(max_examples=25, deadline=None)
def test_tokens_of_each_turn_extend_the_last(load, name, conversation):
    template = load(name)
    whole = template.encode(conversation)
    for end in range(2, len(conversation.messages)):
        if conversation.messages[end - 1].role == "assistant":
            part = template.encode(Conversation(conversation.messages[:end]))
            assert part.token_ids.tolist() == whole.token_ids[: len(part)].tolist()
            assert part.loss_weights.tolist() == whole.loss_weights[: len(part)].tolist()


@pytest.mark.parametrize("name", KINDS)
@given(conversation=conversations())
@settings(max_examples=25, deadline=None)
def test_tokens_are_those_of_the_rendered_text(load, name, conversation):
    template = load(name)
    encoded = template.encode_rounds(conversation)[-1]
    text, rendered = template.decode(encoded.token_ids), template.render(conversation)
    if name == "opens_thoughts":
        text = text.replace("<think>\n\n</think>\n\n", "")
    if name in ("no_terminator", "separator"):
        assert text == rendered.rstrip() + TERMINATOR[name]
    else:
        assert text == rendered
