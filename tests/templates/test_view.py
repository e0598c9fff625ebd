"""Tokens as people look at them."""

import json
import re

from swiftrl.core.messages import Conversation, Message
from swiftrl.templates.encoding import Encoded
from swiftrl.templates.view import coloured, describe, json_view, plain, token_texts

CHAT = Conversation((Message("user", "hello 你好🙂"), Message("assistant", "It is\n🙂 2.")))


def test_texts_join_to_the_sequence(load):
    template = load("chatml")
    encoded = template.encode(CHAT)
    texts = token_texts(template, encoded)
    assert len(texts) == len(encoded)
    assert "".join(texts) == template.decode(encoded.token_ids)


def test_texts_of_long_sequences(load):
    template = load("chatml")
    encoded = template.encode(
        Conversation((Message("user", "你好 hello🙂" * 80), CHAT.messages[1]))
    )
    assert "".join(token_texts(template, encoded)) == template.decode(encoded.token_ids)


def test_cut_inside_a_character(load):
    template = load("chatml")
    whole = template.encode(CHAT)
    cut = Encoded(whole.token_ids[:9], whole.loss_weights[:9])
    assert "".join(token_texts(template, cut)) == template.decode(cut.token_ids)


def test_colours_mark_what_trains(load):
    template = load("chatml")
    text = coloured(template, template.encode(CHAT))
    green = "".join(re.findall("\x1b\\[32m(.*?)\x1b\\[0m", text))
    assert green == "It is🙂 2.<|im_end|>"
    bare = re.sub("\x1b\\[[0-9]*m", "", text)
    assert bare == template.render(CHAT)


def test_plain_marks(load):
    template = load("chatml")
    assert "«It is\n🙂 2.<|im_end|>»\n" in plain(template, template.encode(CHAT))


def test_json_holds_every_token(load):
    template = load("chatml")
    encoded = template.encode(CHAT)
    view = json.loads(json.dumps(json_view(template, encoded)))
    assert view["length"] == len(view["tokens"]) == len(encoded)
    assert view["trained"] == encoded.num_trained
    assert [token["id"] for token in view["tokens"]] == encoded.token_ids.tolist()
    assert sum(token["weight"] for token in view["tokens"]) == encoded.loss_weights.sum()


def test_description_is_json(load):
    assert json.loads(json.dumps(describe(load("parts"))))["content"]["assistant"] == "parts"
    assert describe(load("chatml"))["stop_tokens"] == ["<|im_end|>"]
