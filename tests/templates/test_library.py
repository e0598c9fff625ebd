"""Templates for models that have none."""

import pytest

from swiftrl.core.errors import TemplateError
from swiftrl.core.messages import Conversation, Message
from swiftrl.templates import library
from swiftrl.templates.template import Template

CHAT = Conversation(
    (
        Message("system", "Be brief."),
        Message("user", "hello"),
        Message("assistant", "It is 2."),
        Message("user", "who?"),
        Message("assistant", "I am."),
    )
)


@pytest.mark.parametrize("name", library.names())
@pytest.mark.parametrize("adds_bos", [False, True])
def test_each_turn_trains_and_ends(tokenizer_with, trained, name, adds_bos):
    tokenizer = tokenizer_with(None, eos_token="<|eot_id|>")
    if adds_bos:
        tokenizer = _with_bos(tokenizer)
    template = Template.load(tokenizer, chat_template=name)
    encoded = template.encode(CHAT)
    texts = trained(template, encoded)
    for text, said in zip(texts, ("It is 2.", "I am."), strict=True):
        assert text.strip().startswith(said)
    last = encoded.token_ids[encoded.loss_weights > 0][-1]
    assert last in template.stop_token_ids
    bos = tokenizer.bos_token_id
    written = "<s>" in library.source(name) or (adds_bos and "bos_token" in library.source(name))
    assert (bos in encoded.token_ids.tolist()) == written
    assert "Be brief." in template.decode(encoded.token_ids)
    prompt = template.encode_prompt(Conversation(CHAT.messages[:-1]))
    final = template.encode(CHAT, train="last_round")
    assert final.token_ids[: final.first_trained].tolist() == prompt


def _with_bos(tokenizer):
    from tokenizers.processors import TemplateProcessing

    bos = (tokenizer.bos_token, tokenizer.bos_token_id)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{bos[0]} $A", special_tokens=[bos]
    )
    return tokenizer


def test_unknown_name_lists_the_library(tokenizer_with):
    with pytest.raises(TemplateError, match=r"Did you mean 'chatml'\?.*cohere, danube, deepseek"):
        Template.load(tokenizer_with(None), chat_template="chatlm")


def test_names_of_the_same_format():
    assert library.source("qwen2_5") == library.source("chatml")
    assert library.source("llama") == library.source("llama2")


def test_model_without_template_is_told_the_nearest(tokenizer_with):
    with pytest.raises(TemplateError, match="--template: chatml, llama3 suit its tokens"):
        Template.load(tokenizer_with(None))


def test_templates_without_control_tokens_suit_everyone():
    assert library.nearest([]) == ("default", "vicuna")


def test_template_from_a_file(tokenizer_with, sources, tmp_path):
    file = tmp_path / "mine.jinja"
    file.write_text(sources["trailing_space"], encoding="utf-8")
    template = Template.load(tokenizer_with(None), chat_template=str(file))
    assert template.render(CHAT).endswith("<|im_end|> \n \n")
    with pytest.raises(TemplateError, match=r"absent.jinja: cannot be read"):
        Template.load(tokenizer_with(None), chat_template=str(tmp_path / "absent.jinja"))


def test_broken_template_file_is_refused(tokenizer_with, tmp_path):
    file = tmp_path / "broken.jinja"
    file.write_text("{% for x in %}", encoding="utf-8")
    with pytest.raises(TemplateError, match="not valid Jinja"):
        Template.load(tokenizer_with(None), chat_template=str(file))
