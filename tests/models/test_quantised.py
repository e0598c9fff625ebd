"""Files of quantised weights load into our layers and compute what they stand for."""

import json
import sys

import device
import pytest
import torch
import transformers
from quantised_files import save_quantised
from safetensors.torch import load_file, save_file
from tiny_media_models import make_folder
from tiny_models import make_model, save_model

from swiftrl.core.errors import ConfigError, ModelError
from swiftrl.models.config import ModelConfig, TunerConfig
from swiftrl.models.load import load_model
from swiftrl.models.lora import add_lora
from swiftrl.models.quantised import check_trainable
from swiftrl.models.resolve import resolve
from swiftrl.quant.linear import QuantLinear
from swiftrl.quant.scheme import Scheme

_MIXTURE = {"num_experts_per_tok": 2, "moe_intermediate_size": 16}
_CASES = {
    "gptq": ("Qwen3", {}, "gptq", Scheme(4, 16), {}),
    "gptq_v2 8 bits": ("Llama", {}, "gptq_v2", Scheme(8, -1, symmetric=False), {}),
    "gptq_v2 3 bits": (
        "Llama",
        {"intermediate_size": 64},
        "gptq_v2",
        Scheme(3, 32, symmetric=False),
        {"skip": ("lm_head", "k_proj", "v_proj")},
    ),
    "awq with biases": ("Qwen2", {}, "awq", Scheme(4, 16, symmetric=False), {}),
    "compressed": ("Qwen3", {}, "compressed_tensors", Scheme(4, 16), {}),
    "a quantised head": ("Qwen3", {"tied": False}, "gptq", Scheme(4, 16), {"skip": ("k_proj",)}),
    "experts by transformers' names": (
        "Qwen3Moe",
        {"num_experts": 4, **_MIXTURE},
        "gptq",
        Scheme(4, 16),
        {},
    ),
    "experts by other names": (
        "Mixtral",
        {"num_local_experts": 4, "num_experts_per_tok": 2},
        "awq",
        Scheme(4, 16, symmetric=False),
        {"renamed": [(".mlp.", ".block_sparse_moe.")]},
    ),
    "experts by GPTQModel's names": (
        "Mixtral",
        {"num_local_experts": 4, "num_experts_per_tok": 2},
        "gptq",
        Scheme(4, 16),
        {"renamed": [(".w1.", ".gate_proj."), (".w3.", ".up_proj."), (".w2.", ".down_proj.")]},
    ),
    "some experts left": (
        "Qwen2Moe",
        {"num_experts": 4, "shared_expert_intermediate_size": 16, **_MIXTURE},
        "gptq_v2",
        Scheme(4, 16),
        {"skip": ("lm_head", "shared_expert_gate", "experts.3.up_proj", "1.down_proj")},
    ),
}


def _load(folder, dtype="float32"):
    config = ModelConfig(model=str(folder), torch_dtype=dtype)
    return load_model(resolve(str(folder)), config, device.backend()).model


def _logits(model):
    ids = device.put(torch.arange(5, 25)[None])
    with torch.no_grad():
        return model(input_ids=ids, use_cache=False).logits.float()


@pytest.mark.parametrize("case", _CASES)
def test_logits_are_those_of_the_weights_the_file_stands_for(case, tmp_path):
    kind, sizes, name, scheme, options = _CASES[case]
    plain = make_model(kind, **({"tied": False} | sizes))
    folder = save_quantised(tmp_path / "model", plain, name, scheme, **options)
    loaded = _load(folder)
    layers = [m for m in loaded.modules() if isinstance(m, QuantLinear)]
    assert layers
    assert loaded.is_quantized
    assert all(not p.requires_grad for m in layers for p in m.parameters())
    torch.testing.assert_close(_logits(loaded), _logits(plain), rtol=1e-4, atol=1e-4)
    assert not {"gptqmodel", "awq", "optimum"} & set(sys.modules)
    narrow = _load(folder, "bfloat16")
    error = (_logits(narrow) - _logits(plain.to(torch.bfloat16))).norm() / _logits(plain).norm()
    assert error < 0.15  # a token may change its expert


def test_scales_stay_as_stored_whatever_the_type_of_the_computation(tmp_path):
    folder = save_quantised(tmp_path / "model", make_model(), "gptq", Scheme(4, 16))
    layer = _load(folder, "bfloat16").model.layers[0].self_attn.q_proj
    assert layer.scales.dtype == torch.float16
    assert layer(device.put(torch.ones(1, 32, dtype=torch.bfloat16))).dtype == torch.bfloat16


def _edit(folder, change):
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def _reconfigure(folder, **values):
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] |= values
    (folder / "config.json").write_text(json.dumps(config))


def test_groups_in_another_order_are_seen_whatever_the_config_says(tmp_path):
    folder = save_quantised(tmp_path / "model", make_model(), "gptq", Scheme(4, 16))
    name = "model.layers.0.self_attn.q_proj"

    def swap(tensors):
        tensors[f"{name}.g_idx"] = tensors[f"{name}.g_idx"].flip(0)

    _edit(folder, swap)
    layers = _load(folder).model.layers
    turned, straight = layers[0].self_attn.q_proj, layers[0].self_attn.o_proj
    assert turned.read.keywords["scheme"].act_order
    assert not straight.read.keywords["scheme"].act_order
    stored = turned.packed()
    stored["g_idx"] = stored["g_idx"].flip(0)
    codes = turned.read(stored, dtype=torch.float32) / turned.scales.t()[:, [0] * 16 + [1] * 16]
    there = turned.scales.t()[:, [1] * 16 + [0] * 16]
    mine = turned.unpacked(torch.float32)
    assert not torch.equal(mine, turned.read(stored, dtype=torch.float32))
    assert (mine / there - codes).abs().max() < 16  # whole steps, zeros of the other group


def test_files_without_group_indices_and_with_biases_of_their_own(tmp_path):
    plain = make_model("Llama", tied=False)
    folder = save_quantised(tmp_path / "model", plain, "gptq", Scheme(4, 16))
    bias = torch.linspace(-1, 1, 32)
    name = "model.layers.1.self_attn.q_proj"

    def change(tensors):
        for key in [key for key in tensors if key.endswith("g_idx")]:
            del tensors[key]
        tensors[f"{name}.bias"] = bias

    _edit(folder, change)
    plain.model.layers[1].self_attn.q_proj.bias = torch.nn.Parameter(device.put(bias))
    torch.testing.assert_close(_logits(_load(folder)), _logits(plain), rtol=1e-4, atol=1e-4)


def test_a_lost_tensor_is_named(tmp_path):
    folder = save_quantised(tmp_path / "model", make_model(), "awq", Scheme(4, 16))
    _edit(folder, lambda tensors: tensors.pop("model.layers.1.mlp.up_proj.scales"))
    with pytest.raises(ModelError, match=r"model\.layers\.\*\.mlp\.up_proj\.scales"):
        _load(folder)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"checkpoint_format": "marlin"}, "one kernel alone"),
        ({"group_size": 12}, r"q_proj: --group_size 12 does not divide|does not divide"),
        ({"checkpoint_format": "gptq", "bits": 8}, "do not fit config.json"),
    ],
)
def test_what_does_not_fit_is_said(values, message, tmp_path):
    folder = save_quantised(tmp_path / "model", make_model(), "gptq", Scheme(4, 16))
    _reconfigure(folder, **values)
    with pytest.raises(ModelError, match=message):
        _load(folder)


def test_a_config_that_promises_what_the_files_do_not_hold(tmp_path):
    folder = save_model(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "awq", "bits": 4, "version": "gemm"}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="no tensor that ends in"):
        _load(folder)


def test_quantised_weights_themselves_do_not_train(tmp_path):
    folder = save_quantised(tmp_path / "model", make_model(), "awq", Scheme(4, 16))
    resolved = resolve(str(folder))
    check_trainable(resolved, TunerConfig())
    with pytest.raises(ConfigError, match="--tuner_type full"):
        check_trainable(resolved, TunerConfig(tuner_type="full"))
    with pytest.raises(ConfigError, match="--init_weights pissa"):
        check_trainable(resolved, TunerConfig(init_weights="pissa"))


def test_quantised_modules_are_not_saved_whole_and_others_are(tmp_path):
    folder = save_quantised(tmp_path / "model", make_model(tied=False), "awq", Scheme(4, 16))
    with pytest.raises(ConfigError, match="--modules_to_save mlp: its weights are quantised"):
        add_lora(_load(folder), TunerConfig(modules_to_save=["mlp"]))
    adapted = add_lora(_load(folder), TunerConfig(modules_to_save=["lm_head"]))
    assert any("lm_head.modules_to_save" in n for n, p in adapted.named_parameters())


def test_the_language_model_of_a_vision_model_under_its_published_names(tmp_path):
    make_folder("qwen2_vl", tmp_path / "plain")
    plain = device.put(
        transformers.Qwen2VLForConditionalGeneration.from_pretrained(tmp_path / "plain")
    )
    visual = [name for name, _ in plain.named_modules() if "visual" in name]
    folder = tmp_path / "model"
    scheme = Scheme(4, 16, symmetric=False)
    save_quantised(folder, plain, "awq", scheme, skip=("lm_head", *visual))

    def rename(tensors):
        for key in list(tensors):
            old = key.replace("model.language_model.", "model.").replace("model.visual.", "visual.")
            tensors[old] = tensors.pop(key)

    _edit(folder, rename)
    loaded = _load(folder)
    assert isinstance(loaded.model.language_model.layers[0].mlp.up_proj, QuantLinear)
    torch.testing.assert_close(_logits(loaded), _logits(plain), rtol=1e-4, atol=1e-4)
