"""A model's family: from its id, its folder whatever it is called, or a config.json alone."""

import json
import subprocess
import sys

import pytest

from swiftrl.core.errors import ModelError
from swiftrl.models.builtin_models import builtin_path
from swiftrl.models.evidence import Evidence
from swiftrl.models.identify import identify
from swiftrl.models.spec import Markers

EOS_R1 = "<｜end▁of▁sentence｜>"
CHATML = "{% for m in messages %}<|im_start|>{{ m.content }}<|im_end|>{% endfor %}"


def make(folder, config, *, tokens=(), template=None, eos="</s>"):
    """Write a folder without weights: config.json, and a tokenizer's settings with `tokens`."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    if tokens or template:
        added = {str(i): {"content": token} for i, token in enumerate(tokens)}
        settings = {"added_tokens_decoder": added, "eos_token": eos, "chat_template": template}
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return str(folder)


def name_of(model) -> str | None:
    spec = identify(str(model))
    return spec.name if spec else None


def test_a_listed_id_decides():
    assert name_of("Qwen/Qwen2.5-7B-Instruct") == "qwen2"
    assert name_of("deepseek-ai/DeepSeek-R1-Distill-Qwen-7B") == "deepseek_r1_distill_qwen"
    with pytest.raises(ModelError, match="neither a listed id nor a folder"):
        identify("nobody/nothing")


@pytest.mark.parametrize("called", ["my-model", "Qwen2.5-7B", "anything"])
@pytest.mark.parametrize(
    ("tokens", "family"),
    [
        (("<|im_start|>", "<|im_end|>"), "qwen2"),
        (("<|im_end|>", EOS_R1, "<think>"), "deepseek_r1_distill_qwen"),
    ],
)
def test_tokens_tell_a_distilled_model_whatever_the_folder_is_called(
    tmp_path, called, tokens, family
):
    config = {"architectures": ["Qwen2ForCausalLM"], "vocab_size": 151936}
    assert name_of(make(tmp_path / called, config, tokens=tokens, template=CHATML)) == family


@pytest.mark.parametrize(
    ("vocab_size", "tokens", "family"),
    [
        (128256, ("<|eot_id|>", "<|begin_of_text|>"), "llama"),
        (32000, ("<s>", "</s>"), "llama2"),
        (128256, (EOS_R1, "<think>"), "deepseek_r1_distill_llama"),
    ],
)
def test_llamas_are_told_apart_in_a_renamed_folder(tmp_path, vocab_size, tokens, family):
    config = {"architectures": ["LlamaForCausalLM"], "vocab_size": vocab_size}
    assert name_of(make(tmp_path / "model", config, tokens=tokens, template="{{ x }}")) == family


@pytest.mark.parametrize(
    ("called", "vocab_size", "family"),
    [
        ("vicuna-7b-v1.5", 32000, "vicuna"),
        ("my-vicuna-13b", 32000, "vicuna"),
        ("CodeLlama-7b-Instruct-hf", 32016, "codellama"),
        ("CodeLlama-34b-hf", 32000, "codellama"),
        ("CodeFuse-CodeLlama-34B", 32000, "codefuse_codellama"),
        ("TinyLlama-1.1B-Chat-v1.0", 32000, "tinyllama"),
        ("SOLAR-10.7B-Instruct-v1.0", 32000, "solar_llama"),
        ("SmolLM2-360M-Instruct", 49152, "smollm"),
        ("Falcon3-7B-Instruct", 131072, "falcon3"),
        ("Hermes-3-Llama-3.1-8B", 128256, "hermes3"),
        ("Llama-2-7b-chat-hf", 32000, "llama2"),
    ],
)
def test_names_tell_llamas_of_other_makers_apart(tmp_path, called, vocab_size, family):
    config = {"architectures": ["LlamaForCausalLM"], "vocab_size": vocab_size}
    assert name_of(make(tmp_path / called, config)) == family


def test_the_chat_template_tells_a_coder(tmp_path):
    config = {"architectures": ["Qwen3MoeForCausalLM"]}
    tokens = ("<|im_end|>",)
    plain = make(tmp_path / "a", config, tokens=tokens, template=CHATML)
    coder = make(tmp_path / "b", config, tokens=tokens, template=CHATML + "<function=f>")
    assert (name_of(plain), name_of(coder)) == ("qwen3_moe", "qwen3_coder")


def test_a_bare_config_is_enough(tmp_path):
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"architectures": ["Qwen3ForCausalLM"]}))
    assert name_of(file) == name_of(tmp_path) == "qwen3"
    file.write_text(json.dumps({"architectures": ["LlamaForCausalLM"], "vocab_size": 32000}))
    assert name_of(file) == "llama2"
    file.write_text(json.dumps({"model_type": "qwen3"}))
    assert name_of(file) == "qwen3"
    file.write_text(json.dumps({"architectures": ["NobodysForCausalLM"]}))
    assert identify(str(file)) is None


@pytest.mark.parametrize("where", ["folder", "config", "cache"])
def test_the_published_name_decides_where_the_files_do_not(tmp_path, where):
    config = {"architectures": ["LlamaForCausalLM"], "vocab_size": 64000}
    folder = tmp_path / "model"
    if where == "folder":
        folder = tmp_path / "Yi-6B"
    elif where == "cache":
        folder = tmp_path / "models--01-ai--Yi-6B" / "snapshots" / "0123abcd"
    else:
        config["_name_or_path"] = "01-ai/Yi-6B"
    assert name_of(make(folder, config, tokens=("<|im_end|>",))) == "yi"


def test_an_undecided_family_lists_the_choices(tmp_path):
    config = {"architectures": ["LlamaForCausalLM"], "vocab_size": 64000}
    folder = make(tmp_path / "model", config, tokens=("<|im_end|>",))
    with pytest.raises(ModelError) as caught:
        identify(folder)
    text = str(caught.value)
    assert "--model_type" in text
    assert folder in text
    assert "yi (stop tokens: <|im_end|>; template: chatml)" in text
    assert "deepseek_r1_distill_llama" not in text


def test_families_that_would_do_the_same_are_no_question(tmp_path):
    """The folder's template ends turns itself: the families' stop tokens change nothing."""
    config = {"architectures": ["LlamaForCausalLM"], "vocab_size": 64000}
    folder = make(tmp_path / "model", config, tokens=("<|im_end|>",), template=CHATML)
    spec = identify(folder)
    assert spec is not None
    assert spec.name == "llama"
    assert spec.tool_syntax is None


def test_towers_in_the_config_tell_pictures_from_text(tmp_path):
    config = {"architectures": ["GlmForCausalLM"]}
    assert name_of(make(tmp_path / "a", config, tokens=("<|user|>",))) == "glm"
    config["vision_config"] = {"hidden_size": 8}
    assert name_of(make(tmp_path / "b", config, tokens=("<|user|>",))) == "glm_edge_v"


def test_conditions_hold_fail_or_stay_open(tmp_path):
    config = {"vocab_size": 5, "rope_parameters": {"rope_theta": 1e6, "rope_type": "llama3"}}
    make(tmp_path / "m", config, tokens=("<a>",), template="x<call>")
    whole = Evidence(config, tmp_path / "m", ("my-model",))
    assert whole.holds(Markers(config={"vocab_size": (4, 5), "absent": (None,)}))
    assert whole.holds(
        Markers(config={"rope_theta": (1e6,), "rope_scaling.rope_type": ("llama3",)})
    )
    assert whole.holds(Markers(tokens=("<a>",), template_contains=("<call>",), names=("my-",)))
    assert whole.holds(Markers(tokens=("<a>", "<b>"))) is False
    assert whole.holds(Markers(names=("other",))) is None
    bare = Evidence(config)
    assert bare.holds(Markers(tokens=("<a>",))) is None
    assert bare.holds(Markers(config={"vocab_size": (4,)}, tokens=("<a>",))) is False


def test_templates_in_every_place_are_read(tmp_path):
    make(tmp_path / "m", {}, template=[{"name": "default", "template": "one"}])
    (tmp_path / "m" / "chat_template.jinja").write_text("two")
    (tmp_path / "m" / "chat_template.json").write_text('{"chat_template": "three"}')
    extra = tmp_path / "m" / "additional_chat_templates"
    extra.mkdir()
    (extra / "tools.jinja").write_text("four")
    text = Evidence({}, tmp_path / "m").template
    assert all(part in text for part in ("one", "two", "three", "four"))


def test_tokens_of_a_tokenizer_json_count(tmp_path):
    (tmp_path / "tokenizer.json").write_text(
        json.dumps({"added_tokens": [{"content": "<x>"}], "model": {"vocab": {"y": 0}}})
    )
    assert Evidence({}, tmp_path).tokens == {"<x>", "y"}


def test_identifying_needs_no_torch():
    code = (
        "import sys; from swiftrl.models.identify import identify;"
        f"identify({str(builtin_path('builtin:tiny-instruct') / 'config.json')!r});"
        "assert not {'torch', 'transformers', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
