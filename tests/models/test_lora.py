import itertools
import json
import re

import pytest
import tiny_models
import torch
from peft import get_peft_model_state_dict

from swiftrl.core.errors import ConfigError, ModelError
from swiftrl.models import lora
from swiftrl.models.catalog import by_name
from swiftrl.models.config import TunerConfig
from swiftrl.models.lora import add_lora, load_adapters, merge
from swiftrl.models.save import save_model
from swiftrl.models.towers import prepare_full, tower_of

pytestmark = pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`")
IDS = torch.arange(0, 300, 7)[None]
VARIANTS = (
    {},
    {"use_dora": True},
    {"use_rslora": True},
    {"lora_bias": "all"},
    {"modules_to_save": ["embed_tokens"]},
    {"modules_to_save": ["lm_head"]},
    {"init_weights": "gaussian"},
    {"init_weights": "pissa"},
    {"init_weights": "olora"},
    {"init_weights": "orthogonal"},
)


def logits(model) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(IDS.to(model.device)).logits.cpu()


def pretend_training(model) -> None:
    torch.manual_seed(1)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += torch.randn_like(parameter) * 0.05


def adapted_names(model) -> set[str]:
    return {
        name.removeprefix("base_model.model.")
        for name, module in model.named_modules()
        if isinstance(module, lora_layer_class())
    }


def lora_layer_class():
    from peft.tuners.lora import LoraLayer

    return LoraLayer


@pytest.mark.parametrize(
    ("settings", "tied"), list(itertools.product(VARIANTS, [True, False])), ids=str
)
def test_save_load_merge_and_plain_transformers_agree(settings, tied, tmp_path):
    base = tiny_models.make_model(tied=tied)
    original = logits(base)
    adapted = add_lora(base, TunerConfig(**settings))
    torch.testing.assert_close(logits(adapted), original, atol=1e-4, rtol=0)
    pretend_training(adapted)
    trained = logits(adapted)
    assert (trained - original).abs().max() > 0.1
    adapted.save_pretrained(tmp_path / "adapter")
    loaded = load_adapters(tiny_models.make_model(tied=tied), [tmp_path / "adapter"])
    torch.testing.assert_close(logits(loaded), trained, atol=1e-5, rtol=0)
    merged = merge(loaded)
    save_model(tmp_path / "merged", merged, tiny_models.make_tokenizer())
    plain = type(merged).from_pretrained(tmp_path / "merged")
    torch.testing.assert_close(logits(plain), trained, atol=1e-4, rtol=0)


def test_adapters_off_is_the_base_unless_the_initialisation_changes_it():
    for settings in VARIANTS:
        config = TunerConfig(**settings)
        base = tiny_models.make_model()
        original = logits(base)
        adapted = add_lora(base, config)
        pretend_training(adapted)
        if settings == {"lora_bias": "all"}:
            continue  # Qwen3 has no biases
        with adapted.disable_adapter():
            same = torch.allclose(logits(adapted), original, atol=1e-5)
        assert same == (not lora.changes_base_weights(config)), settings


def test_what_trains_is_float32_beside_a_bfloat16_base():
    config = TunerConfig(modules_to_save=["lm_head"])
    adapted = add_lora(tiny_models.make_model(tied=False).bfloat16(), config)
    dtypes = {(p.requires_grad, p.dtype) for p in adapted.parameters()}
    assert dtypes == {(True, torch.float32), (False, torch.bfloat16)}


def test_continuing_keeps_every_bit_of_what_trained(tmp_path):
    config = TunerConfig(modules_to_save=["embed_tokens"])
    adapted = add_lora(tiny_models.make_model(tied=False).bfloat16(), config)
    pretend_training(adapted)
    adapted.save_pretrained(tmp_path)
    base = tiny_models.make_model(tied=False).bfloat16()
    again = load_adapters(base, [tmp_path], trainable=True)
    wanted, got = get_peft_model_state_dict(adapted), get_peft_model_state_dict(again)
    assert wanted.keys() == got.keys()
    assert all(torch.equal(wanted[name], got[name]) for name in wanted)
    assert any(p.requires_grad for p in again.parameters())


def test_merging_in_bfloat16_rounds_once(tmp_path):
    adapted = add_lora(tiny_models.make_model().bfloat16(), TunerConfig())
    pretend_training(adapted)
    layer = adapted.base_model.model.model.layers[0].mlp.up_proj
    delta = layer.get_delta_weight("default").float()
    exact = (layer.get_base_layer().weight.float() + delta).bfloat16()
    merged = merge(adapted)
    assert torch.equal(merged.model.layers[0].mlp.up_proj.weight, exact)
    assert {p.dtype for p in merged.parameters()} == {torch.bfloat16}


def test_a_merged_model_is_in_one_type_again():
    settings = {"lora_bias": "all", "modules_to_save": ["embed_tokens"]}
    adapted = add_lora(tiny_models.make_model("Qwen2").bfloat16(), TunerConfig(**settings))
    assert any(n.endswith("bias") and p.requires_grad for n, p in adapted.named_parameters())
    pretend_training(adapted)
    assert {p.dtype for p in merge(adapted).parameters()} == {torch.bfloat16}


def test_a_merge_that_changes_the_model_is_refused(monkeypatch):
    adapted = add_lora(tiny_models.make_model(), TunerConfig())
    pretend_training(adapted)
    monkeypatch.setattr("peft.tuners.lora.Linear.merge", lambda self, **_: None)
    with pytest.raises(ModelError, match="differs from the one with adapters"):
        merge(adapted)


def test_several_adapters_add_up(tmp_path):
    base = logits(tiny_models.make_model())
    for name, seed in (("a", 1), ("b", 2)):
        adapted = add_lora(tiny_models.make_model(), TunerConfig(target_modules=["up_proj"]))
        torch.manual_seed(seed)
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.data += torch.randn_like(parameter) * 0.05
        adapted.save_pretrained(tmp_path / name)
    both = load_adapters(tiny_models.make_model(), [tmp_path / "a", tmp_path / "b"])
    weight = tiny_models.make_model().model.layers[0].mlp.up_proj.weight
    up = both.base_model.model.model.layers[0].mlp.up_proj
    wanted = weight + up.get_delta_weight("default") + up.get_delta_weight("adapter_1")
    trained = logits(both)
    merged = merge(both)
    torch.testing.assert_close(merged.model.layers[0].mlp.up_proj.weight, wanted)
    torch.testing.assert_close(logits(merged), trained, atol=1e-4, rtol=0)
    assert (trained - base).abs().max() > 0.1


def test_all_linear_is_every_linear_layer_but_the_head():
    adapted = add_lora(tiny_models.make_model(tied=False), TunerConfig())
    endings = {name.split(".")[-1] for name in adapted_names(adapted)}
    assert endings == set(by_name("qwen3").lora_targets)
    assert adapted.peft_config["default"].target_modules == endings


def test_experts_without_lora_are_mentioned(capsys):
    model = tiny_models.make_model("Qwen3Moe", num_experts=4, moe_intermediate_size=16)
    adapted = add_lora(model, TunerConfig())
    assert {name.split(".")[-2] for name in adapted_names(adapted)} == {"self_attn"}
    assert "get no LoRA" in capsys.readouterr().out


def test_towers_follow_the_freeze_flags():
    spec = by_name("llava")

    def towers(**settings):
        adapted = add_lora(tiny_models.make_llava(), TunerConfig(**settings), spec)
        return {tower_of(name, spec) for name in adapted_names(adapted)}

    assert towers() == {"language"}
    assert towers(freeze_vit=False) == {"language", "vision"}
    assert towers(freeze_vit=False, freeze_aligner=False) == {"language", "vision", "aligner"}
    assert towers(target_modules=["q_proj"]) == {"language"}
    with pytest.raises(ConfigError, match="--freeze_vit false"):
        towers(target_modules=["fc1"])


def test_regular_expressions_choose_full_names():
    pattern = r"model\.layers\.1\..*(q|v)_proj"
    adapted = add_lora(tiny_models.make_model(), TunerConfig(target_regex=pattern))
    assert adapted_names(adapted) == {
        "model.layers.1.self_attn.q_proj",
        "model.layers.1.self_attn.v_proj",
    }


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"target_modules": ["q_porj"]}, "Did you mean q_proj"),
        ({"target_modules": ["mlp"]}, "--modules_to_save mlp"),
        ({"target_regex": "nothing"}, "matches none"),
        ({"target_regex": "("}, "not a regular expression"),
        ({"modules_to_save": ["lm_haed"]}, "Did you mean lm_head"),
        ({"target_modules": ["lm_head"]}, "--modules_to_save lm_head"),
        ({"target_modules": ["all-linear", "embed_tokens"]}, "are one weight"),
        ({"lora_rank": 0}, "--lora_rank 0"),
        ({"lora_rank": 3, "init_weights": "orthogonal"}, "not even"),
    ],
    ids=str,
)
def test_wrong_targets_say_what_is_near(settings, expected):
    with pytest.raises(ConfigError, match=re.escape(expected)):
        add_lora(tiny_models.make_model(), TunerConfig(**settings))


@pytest.fixture
def adapter(tmp_path):
    add_lora(tiny_models.make_model(), TunerConfig()).save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


def refusal(folder, model=None, error=ModelError) -> str:
    with pytest.raises(error) as caught:
        load_adapters(model or tiny_models.make_model(), [folder])
    return str(caught.value)


def test_adapter_folders_that_cannot_be_used(adapter, tmp_path):
    assert "no such folder" in refusal(tmp_path / "nothing")
    assert "adapter" in refusal(tmp_path)  # names the folder inside
    model = tiny_models.save_model(tmp_path / "model")
    assert "give it as --model" in refusal(model)
    file = adapter / "adapter_model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:-100])
    assert "cut short" in refusal(adapter)
    file.rename(adapter / "adapter_model.bin")
    assert "pickle" in refusal(adapter)


def test_an_adapter_of_another_base_is_refused(adapter):
    wider = tiny_models.make_model(hidden_size=48)
    assert "does not fit Qwen3ForCausalLM" in refusal(adapter, wider)
    deeper = tiny_models.make_model(num_hidden_layers=3)
    assert "weights are absent" in refusal(adapter, deeper)


def test_several_adapters_cannot_be_trained(adapter):
    with pytest.raises(ConfigError, match="cannot be trained together"):
        load_adapters(tiny_models.make_model(), [adapter, adapter], trainable=True)


def test_the_base_of_an_adapter(adapter):
    config = json.loads((adapter / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = "/some/where/swiftrl/models/builtin/tiny-instruct"
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    assert lora.base_of_adapter(adapter) == "builtin:tiny-instruct"


def test_full_training_frees_by_tower_in_float32():
    spec = by_name("llava")
    model = tiny_models.make_llava().bfloat16()
    prepare_full(model, TunerConfig(tuner_type="full", freeze_llm=True, freeze_vit=False), spec)
    for name, parameter in model.named_parameters():
        trains = tower_of(name, spec) == "vision"
        assert parameter.requires_grad == trains
        assert parameter.dtype == (torch.float32 if trains else torch.bfloat16)
    with pytest.raises(ConfigError, match="every weight is frozen"):
        prepare_full(model, TunerConfig(tuner_type="full", freeze_llm=True), spec)
