"""Weights quantised as they are read."""

import importlib.util
import json
import shutil

import device
import pytest
import tiny_models
import torch
from safetensors.torch import load_file
from torch import nn

from swiftrl.core.errors import ConfigError, ModelError
from swiftrl.models.config import ModelConfig, QuantLoadConfig, TunerConfig
from swiftrl.models.load import load_model
from swiftrl.models.lora import add_lora, merge
from swiftrl.models.quantise import check_quantisation, count_weights
from swiftrl.models.resolve import resolve
from swiftrl.quant import nf4
from swiftrl.quant.linear import QuantLinear

NF4 = QuantLoadConfig(quant_method="nf4")
IDS = device.put(torch.arange(0, 300, 7)[None])
needs_bnb = pytest.mark.skipif(
    importlib.util.find_spec("bitsandbytes") is None or device.name() == "npu",
    reason="bitsandbytes is not installed or has no kernels for this device",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("quantise") / "model"
    return tiny_models.save_model(path, tiny_models.make_model("Qwen2", hidden_size=64))


def load(folder, quantisation=NF4, dtype="float32", **arguments):
    config = ModelConfig(torch_dtype=dtype)
    resolved = resolve(str(folder))
    return load_model(resolved, config, device.backend(), quantisation=quantisation, **arguments)


def test_linear_layers_are_packed_and_all_else_stays(folder):
    model = load(folder).model
    stored = load_file(folder / "model.safetensors")
    packed = {n: m for n, m in model.named_modules() if isinstance(m, QuantLinear)}
    assert len(packed) == 2 * 7
    for name, layer in packed.items():
        expected = nf4.dequantise(nf4.quantise(stored[f"{name}.weight"]), torch.float32)
        torch.testing.assert_close(layer.weight.cpu(), expected, rtol=1e-6, atol=0)
        if (bias := stored.get(f"{name}.bias")) is not None:
            assert layer.bias.cpu().equal(bias)
    assert any(layer.bias is not None for layer in packed.values())
    assert model.get_input_embeddings().weight.cpu().equal(stored["model.embed_tokens.weight"])
    assert model.lm_head.weight is model.get_input_embeddings().weight
    assert all(p.device.type == device.name() for p in model.parameters())
    assert not any(p.requires_grad for layer in packed.values() for p in layer.parameters()
                   if not p.is_floating_point())  # fmt: skip


def test_the_count_is_of_weights_not_of_bytes(folder):
    plain = load(folder, None).model
    assert count_weights(load(folder).model) == count_weights(plain) == plain.num_parameters()


def test_the_heads_of_scores_and_the_towers_of_pictures_stay(tmp_path):
    scoring = load("builtin:tiny-instruct", scores=1).model
    assert type(scoring.score) is nn.Linear
    model = load("builtin:tiny-vl").model
    packed = [n for n, m in model.named_modules() if isinstance(m, QuantLinear)]
    assert packed
    assert all("language_model" in name for name in packed)


def test_where_another_process_reads_the_files_only_shapes_are_made(folder):
    model = load(folder, place="nowhere").model
    assert all(p.is_meta for p in model.parameters())
    whole = {n: (p.shape, p.dtype) for n, p in load(folder).model.named_parameters()}
    assert {n: (p.shape, p.dtype) for n, p in model.named_parameters()} == whole


def gradients(model):
    adapted = add_lora(model, TunerConfig(lora_dropout=0.0))
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:  # zero at first, which would hide the gradient of A
            generator = torch.Generator().manual_seed(len(name))
            parameter.data += device.put(torch.randn(parameter.shape, generator=generator) * 0.1)
        if "lora_A" in name:
            generator = torch.Generator().manual_seed(len(name))
            parameter.data = device.put(torch.randn(parameter.shape, generator=generator) * 0.1)
    logits = adapted(IDS).logits
    logits.float().logsumexp(-1).sum().backward()
    found = {n: p.grad for n, p in adapted.named_parameters() if p.requires_grad}
    return logits.detach(), found


def rounded(folder):
    """Return the model whose weights are what NF4 makes of them, unpacked."""
    plain = load(folder, None).model
    for name, layer in load(folder).model.named_modules():
        if isinstance(layer, QuantLinear):
            plain.get_submodule(name).weight.data = layer.weight
    return plain


def test_adapters_on_packed_weights_have_the_gradients_of_the_unpacked_ones(folder):
    expected_logits, expected = gradients(rounded(folder))
    logits, found = gradients(load(folder).model)
    torch.testing.assert_close(logits, expected_logits, rtol=1e-5, atol=1e-5)
    assert found.keys() == expected.keys()
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-4, atol=1e-4)


def test_adapters_are_not_merged_into_packed_weights(folder):
    with pytest.raises(ModelError, match="cannot be merged into quantised weights"):
        merge(add_lora(load(folder).model, TunerConfig()))


def test_files_that_are_quantised_already_are_refused(folder, tmp_path):

    copy = shutil.copytree(folder, tmp_path / "model")
    config = json.loads((copy / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "gptq", "bits": 4}
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"stored quantised already \(gptq\); leave"):
        load(copy)


@pytest.mark.parametrize(
    ("settings", "tuner", "said"),
    [
        ({"quant_method": "nf4"}, {"tuner_type": "full"}, "--tuner_type full with --quant_method"),
        ({"quant_method": "bnb"}, {"init_weights": "pissa"}, "--init_weights pissa changes"),
        ({"quant_method": "nf4", "quant_bits": 8}, {}, "or use --quant_method bnb"),
        ({"quant_method": "bnb", "quant_bits": 3}, {}, "has 4 or 8 bits"),
        ({"quant_method": "gptq"}, {}, "swiftrl export --quant_method gptq"),
        ({"quant_method": "hqq"}, {}, "not part of this version; use nf4"),
        ({"quant_method": "nf3"}, {}, "unknown; expected nf4 or bnb. Did you mean 'nf4'"),
        ({"quant_bits": 4}, {}, "add --quant_method nf4"),
        ({"quant_method": "nf4", "bnb_4bit_compute_dtype": "float32"}, {}, "is for --quant_method"),
    ],
)
def test_settings_that_contradict_each_other(settings, tuner, said):
    with pytest.raises(ConfigError) as caught:
        check_quantisation(QuantLoadConfig(**settings), TunerConfig(**tuner))
    assert said in str(caught.value)


@needs_bnb
@pytest.mark.parametrize("bits", [4, 8])
@torch.no_grad()
def test_bitsandbytes_gives_the_same_model_nearly(bits):
    """Of its 4 bits the values are ours; rounding to 8 bits is finer than to 4."""
    asked = QuantLoadConfig(quant_method="bnb", quant_bits=bits)
    exact = load("builtin:tiny-instruct", None).model(IDS).logits
    ours = load("builtin:tiny-instruct").model(IDS).logits
    theirs = load("builtin:tiny-instruct", asked).model(IDS).logits
    error = (ours - exact).norm()
    if bits == 4:
        assert (theirs - ours).norm() < 0.1 * error
    else:
        assert (theirs - exact).norm() < 0.5 * error


@needs_bnb
def test_bitsandbytes_keeps_gradients_behind_a_pass_without(tmp_path):
    """Its layers would take a form on CPUs that backward passes go around."""
    sizes = {"hidden_size": 64, "intermediate_size": 128, "head_dim": 16}
    wide = tiny_models.save_model(tmp_path / "model", tiny_models.make_model("Qwen2", **sizes))
    model = load(wide, QuantLoadConfig(quant_method="bnb")).model
    with torch.no_grad():
        model(IDS)
    _, found = gradients(model)
    _, expected = gradients(load(wide).model)
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, expected[name], rtol=0.05, atol=0.05)


@pytest.mark.skipif(
    importlib.util.find_spec("bitsandbytes") is not None, reason="bitsandbytes is installed"
)
def test_without_bitsandbytes_the_extra_is_named(folder):
    with pytest.raises(ConfigError, match=r"pip install 'swiftrl\[bnb\]'"):
        load(folder, QuantLoadConfig(quant_method="bnb"))


def test_experts_are_packed_too(tmp_path):
    sizes = {"moe_intermediate_size": 32, "num_experts": 4, "num_experts_per_tok": 2}
    whole = tiny_models.make_model("Qwen3Moe", **sizes)
    path = tiny_models.save_model(tmp_path / "model", whole)
    model, plain = load(path).model, load(path, None).model
    packed = [n for n, m in model.named_modules() if isinstance(m, QuantLinear)]
    assert sum(".experts." in name for name in packed) == 2 * 4 * 3
    assert count_weights(model) == plain.num_parameters()
    with torch.no_grad():
        found, expected = model(IDS).logits, plain(IDS).logits
    assert (found - expected).norm() < 0.5 * expected.norm()
