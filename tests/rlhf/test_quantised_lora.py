"""LoRA on quantised weights: the gradients of LoRA on the weights that these stand for."""

import copy

import device
import pytest
import torch
from quantised_files import save_quantised
from tiny_models import make_model, make_tokenizer
from transformers import AutoModelForCausalLM

from swiftrl.models.config import ModelConfig, TunerConfig
from swiftrl.models.load import load_model
from swiftrl.models.lora import add_lora, merge
from swiftrl.models.resolve import resolve
from swiftrl.models.save import save_model
from swiftrl.quant.linear import QuantLinear
from swiftrl.quant.scheme import Scheme
from swiftrl.rlhf.fused import fuse

_SCHEMES = {
    "gptq": Scheme(4, 16),
    "gptq_v2": Scheme(8, -1, symmetric=False),
    "awq": Scheme(4, 16, symmetric=False),
}


def _pair(folder, name, kind="Qwen3", **sizes):
    """Return a model on packed weights, and the same one on the weights that they stand for."""
    plain = make_model(kind, **sizes)
    save_quantised(folder, plain, name, _SCHEMES[name])
    config = ModelConfig(model=str(folder), torch_dtype="float32")
    return load_model(resolve(str(folder)), config, device.backend()).model, plain


def _with_lora(model, config, *, fused):
    torch.manual_seed(0)
    adapted = add_lora(model, config)
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    if fused:
        fuse(adapted, torch.float32)
    return adapted.train()


def _gradients(adapted):
    ids = device.put(torch.arange(5, 25)[None])
    loss = torch.log_softmax(adapted(input_ids=ids).logits, dim=-1)[0, :, 7].mean()
    loss.backward()
    trained = {n: p.grad for n, p in adapted.named_parameters() if p.requires_grad}
    return loss.detach(), trained


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("changes", [{}, {"use_dora": True}, {"lora_bias": "all"}])
@pytest.mark.parametrize("name", _SCHEMES)
def test_gradients_are_those_on_the_unpacked_weights(name, changes, fused, tmp_path):
    packed, plain = _pair(tmp_path / "model", name, "Qwen2", tied=True)
    config = TunerConfig(lora_dropout=0.0, **changes)
    found, gradients = _gradients(_with_lora(packed, config, fused=fused))
    expected, wanted = _gradients(_with_lora(plain, config, fused=False))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert gradients.keys() == wanted.keys()
    for key, gradient in wanted.items():
        torch.testing.assert_close(gradients[key], gradient, rtol=1e-3, atol=1e-5, msg=key)


def test_biases_of_plain_layers_train_where_they_are_fused():
    config = TunerConfig(lora_dropout=0.0, lora_bias="all")
    found, wanted = (
        _gradients(_with_lora(make_model("Qwen2"), config, fused=fused))[1]
        for fused in (True, False)
    )
    biases = [key for key in wanted if key.endswith("proj.base_layer.bias")]
    assert biases
    for key in biases:
        torch.testing.assert_close(found[key], wanted[key], rtol=1e-3, atol=1e-5, msg=key)


def test_packed_layers_join_the_fused_operations(tmp_path):
    packed, plain = _pair(tmp_path / "model", "gptq")
    counts = [
        fuse(_with_lora(model, TunerConfig(lora_dropout=0.0), fused=False), torch.float32)
        for model in (packed, plain)
    ]
    assert counts[0] == counts[1]


@pytest.mark.parametrize("fused", [False, True])
def test_experts_pass_gradients_and_get_no_adapters_of_their_own(fused, tmp_path):
    sizes = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
    packed, plain = _pair(tmp_path / "model", "gptq", "Qwen3Moe", tied=False, **sizes)
    experts = packed.model.layers[0].mlp.experts
    assert isinstance(experts.get_submodule("0.up_proj"), QuantLinear)
    config = TunerConfig(lora_dropout=0.0)
    found, gradients = _gradients(_with_lora(packed, config, fused=fused))
    expected, wanted = _gradients(_with_lora(plain, config, fused=False))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert not any(".experts." in key for key in gradients)
    for key, gradient in wanted.items():
        torch.testing.assert_close(gradients[key], gradient, rtol=1e-3, atol=1e-5, msg=key)


def test_only_packed_tensors_and_activations_are_kept(tmp_path):
    packed, plain = _pair(tmp_path / "model", "gptq")
    config = TunerConfig(lora_dropout=0.0)
    sizes = []
    for model in (packed, plain):
        adapted, kept = _with_lora(model, config, fused=True), {}
        weights = {p.untyped_storage().data_ptr() for p in adapted.parameters()}

        def keep(tensor, kept=kept, weights=weights):
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in weights:
                kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            adapted(input_ids=device.put(torch.arange(5, 25)[None]))
        sizes.append(sum(kept.values()))
    assert sizes[0] <= sizes[1] * 1.01


def test_a_copy_of_a_model_keeps_its_own_packed_weights(tmp_path):
    packed, _ = _pair(tmp_path / "model", "gptq")
    twin = copy.deepcopy(packed)
    layer = twin.model.layers[0].self_attn.q_proj
    layer.qweight.data.zero_()
    other = packed.model.layers[0].self_attn.q_proj
    assert not torch.equal(layer.unpacked(torch.float32), other.unpacked(torch.float32))


@pytest.mark.parametrize(
    ("kind", "sizes"),
    [
        ("Qwen3Moe", {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}),
        ("Mixtral", {"num_local_experts": 4, "num_experts_per_tok": 2}),
    ],
)
def test_a_merged_mixture_is_read_by_plain_transformers(kind, sizes, tmp_path):
    packed, _ = _pair(tmp_path / "model", "gptq", kind, tied=False, **sizes)
    adapted = _with_lora(packed, TunerConfig(lora_dropout=0.0), fused=False).eval()
    ids = device.put(torch.arange(5, 25)[None])
    with torch.no_grad():
        wanted = adapted(input_ids=ids, use_cache=False).logits
        save_model(tmp_path / "merged", merge(adapted, unpack=True), make_tokenizer())
        plain = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype=torch.float32)
        found = device.put(plain)(input_ids=ids, use_cache=False).logits
    assert plain.model.layers[0].mlp.experts.gate_up_proj.dim() == 3
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
