import json
import shutil

import device
import pytest
import tiny_models
import torch
from safetensors.torch import load_file, save_file

from swiftrl.core.errors import ModelError
from swiftrl.models.config import ModelConfig
from swiftrl.models.load import load_model, stop_token_ids
from swiftrl.models.resolve import resolve
from swiftrl.models.save import save_model

IDS = device.put(torch.arange(0, 300, 7)[None])


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return tiny_models.save_model(tmp_path_factory.mktemp("load") / "model")


@pytest.fixture
def folder(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "model")


def load(folder, **settings):
    return load_model(resolve(str(folder)), ModelConfig(**settings), device.backend())


def edit_weights(folder, change) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def edit_json(path, **values) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_loads_what_transformers_loads(whole):
    loaded = load(whole, torch_dtype="float32")
    with torch.no_grad():
        assert torch.equal(loaded.model(IDS).logits, tiny_models.make_model()(IDS).logits)
    assert loaded.tokenizer.decode(loaded.tokenizer.encode("你好 fox")) == "你好 fox"
    assert not loaded.model.training
    assert stop_token_ids(loaded.model, loaded.tokenizer, loaded.spec) == (2,)


def test_dtype_by_default_is_the_hardwares_and_can_be_set(whole):
    assert load(whole).model.dtype == torch.bfloat16
    assert load(whole, torch_dtype="float32").model.dtype == torch.float32


def test_attention_is_set(whole):
    assert load(whole, attn_impl="eager").model.config._attn_implementation == "eager"


def test_saved_adapters_will_name_the_folder_in_full(whole, monkeypatch):
    monkeypatch.chdir(whole.parent)
    assert load(whole.name).model.name_or_path == str(whole)


def test_a_missing_weight_is_an_error_not_a_random_start(folder):
    edit_weights(folder, lambda weights: weights.pop("model.layers.1.mlp.up_proj.weight"))
    with pytest.raises(ModelError, match=r"would start random: model\.layers\.\*\.mlp\.up_proj"):
        load(folder)


def test_a_missing_head_is_an_error(tmp_path):
    folder = tiny_models.save_model(tmp_path / "model", tiny_models.make_model(tied=False))
    edit_weights(folder, lambda weights: weights.pop("lm_head.weight"))
    with pytest.raises(ModelError, match=r"start random: lm_head\.weight"):
        load(folder)


def test_a_surplus_weight_is_a_named_warning(folder, capsys):
    edit_weights(folder, lambda weights: weights.update(score=torch.zeros(2)))
    load(folder)
    assert "1 weights in the files have no place in Qwen3ForCausalLM" in capsys.readouterr().err


def test_sizes_that_differ_from_the_config_name_both(folder):
    edit_json(folder / "config.json", intermediate_size=64)
    with pytest.raises(ModelError, match=r"\(48, 32\) in the file, \(64, 32\) by config\.json"):
        load(folder)


def test_unknown_architecture_says_what_to_install(folder):
    edit_json(folder / "config.json", architectures=["Qwen9ForCausalLM"], model_type="qwen9")
    with pytest.raises(ModelError, match=r"cannot read .*'qwen9'.*Install transformers"):
        load(folder)


def test_code_in_the_folder_is_never_run(folder, tmp_path):
    marker = tmp_path / "ran"
    (folder / "evil.py").write_text(f"open({str(marker)!r}, 'w')\nclass C: pass\n")
    edit_json(
        folder / "config.json",
        model_type="evil",
        architectures=["EvilModel"],
        auto_map={"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.C"},
    )
    with pytest.raises(ModelError, match="never run"):
        load(folder)
    assert not marker.exists()


def test_a_model_without_a_head_is_refused(folder):
    edit_json(folder / "config.json", architectures=["Qwen3Model"])
    with pytest.raises(ModelError, match="does not generate text"):
        load(folder)


def test_no_tokenizer(folder):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    with pytest.raises(ModelError, match="tokenizer"):
        load(folder)


def test_a_broken_tokenizer(folder):
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(ModelError, match=r"tokenizer\.json: not valid JSON"):
        load(folder)


def test_a_tokenizer_of_another_model(tmp_path):
    small = tiny_models.make_model()
    small.resize_token_embeddings(100)
    folder = tiny_models.save_model(tmp_path / "model", small)
    with pytest.raises(ModelError, match="belongs to another model"):
        load(folder)


def test_save_reloads_equal_and_keeps_companions(whole, tmp_path):
    edited = shutil.copytree(whole, tmp_path / "edited")
    generation = {"temperature": 0.6, "do_sample": False, "eos_token_id": [2, 0]}
    (edited / "generation_config.json").write_text(json.dumps(generation))
    loaded = load(edited, torch_dtype="float32")
    target = tmp_path / "saved"
    save_model(target, loaded.model, loaded.tokenizer, source=edited, max_shard_size="30KB")
    assert len(list(target.glob("*.safetensors"))) > 1
    for name in ("tokenizer.json", "chat_template.jinja", "generation_config.json"):
        assert (target / name).read_bytes() == (edited / name).read_bytes()
    again = load(target, torch_dtype="float32")
    with torch.no_grad():
        assert torch.equal(again.model(IDS).logits, loaded.model(IDS).logits)
    assert stop_token_ids(again.model, again.tokenizer) == (2, 0)


def test_save_without_a_source_writes_everything(tmp_path):
    save_model(tmp_path / "m", tiny_models.make_model(), tiny_models.make_tokenizer())
    assert load(tmp_path / "m").tokenizer.chat_template == tiny_models.CHAT_TEMPLATE


def test_a_vision_language_model_loads_with_its_towers(tmp_path):
    loaded = load(tiny_models.save_model(tmp_path / "v", tiny_models.make_llava()))
    assert type(loaded.model).__name__ == "LlavaForConditionalGeneration"
    assert loaded.spec is not None and "image" in loaded.spec.modalities
