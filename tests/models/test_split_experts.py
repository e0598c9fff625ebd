"""Experts as linear layers of their own: the same logits, and the published checkpoints' names."""

import copy

import device
import pytest
import torch
from tiny_models import make_model

from swiftrl.core.errors import ModelError
from swiftrl.models.split_experts import split_experts, stacked_experts

_MIXTURE = {"moe_intermediate_size": 16, "num_experts_per_tok": 2}
_DEEPSEEK = {
    "n_routed_experts": 4, "n_shared_experts": 1, "n_group": 1, "topk_group": 1,
    "first_k_dense_replace": 1, **_MIXTURE,
}  # fmt: skip
_LATENT = {
    "q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 4, "qk_nope_head_dim": 8,
    "v_head_dim": 8, "head_dim": 4, "num_key_value_heads": 4,
}  # fmt: skip
_FAMILIES = {
    "Mixtral": ({"num_local_experts": 4, "num_experts_per_tok": 2}, 2, ("w1", "w3", "w2")),
    "Qwen2Moe": ({"num_experts": 4, "shared_expert_intermediate_size": 16, **_MIXTURE}, 2, None),
    "Qwen3Moe": ({"num_experts": 4, **_MIXTURE}, 2, None),
    "Olmoe": ({"num_experts": 4, "num_experts_per_tok": 2}, 2, None),
    "DeepseekV3": (_DEEPSEEK | _LATENT, 1, None),
    "Glm4Moe": (_DEEPSEEK, 1, None),
}


@pytest.mark.parametrize("kind", _FAMILIES)
def test_logits_stay(kind: str) -> None:
    sizes, layers, names = _FAMILIES[kind]
    model = make_model(kind, tied=False, **sizes)
    ids = device.put(torch.arange(5, 25)[None])
    with torch.no_grad():
        before = model(input_ids=ids, use_cache=False).logits
        assert split_experts(model) == layers
        after = model(input_ids=ids, use_cache=False).logits
    torch.testing.assert_close(after, before, rtol=1e-5, atol=1e-5)
    assert not stacked_experts(model)
    gate, up, down = names or ("gate_proj", "up_proj", "down_proj")
    layer = model.model.layers[-1].mlp.experts.get_submodule("3")
    for name in (gate, up, down):
        assert isinstance(layer.get_submodule(name), torch.nn.Linear)


def test_weights_are_views_of_the_stacked_ones() -> None:
    model = make_model("Mixtral", num_local_experts=4)
    stacked = model.model.layers[0].mlp.experts
    split_experts(model)
    expert = model.model.layers[0].mlp.experts.get_submodule("2")
    assert torch.equal(expert.w3.weight, stacked.gate_up_proj[2, 48:])
    assert torch.equal(expert.w2.weight, stacked.down_proj[2])
    assert expert.w1.weight.data_ptr() == stacked.gate_up_proj[2].data_ptr()


def test_gradients_reach_inputs_and_chosen_experts() -> None:
    model = make_model("Qwen3Moe", tied=False, num_experts=4, **_MIXTURE)
    split = copy.deepcopy(model)
    split_experts(split)
    ids = device.put(torch.arange(5, 25)[None])
    for each in (model, split):
        each(input_ids=ids, use_cache=False).logits.square().mean().backward()
    stacked = model.model.layers[0].mlp.experts.down_proj.grad
    for index in range(4):
        layer = split.model.layers[0].mlp.experts.get_submodule(f"{index}.down_proj")
        found = torch.zeros_like(stacked[index]) if layer.weight.grad is None else layer.weight.grad
        torch.testing.assert_close(found, stacked[index], rtol=1e-4, atol=1e-6)
    first = (model, split)
    of_embeddings = [each.model.embed_tokens.weight.grad for each in first]
    torch.testing.assert_close(*of_embeddings, rtol=1e-4, atol=1e-6)


def test_a_model_without_values_is_split_too() -> None:
    model = make_model("Qwen3Moe", num_experts=4, **_MIXTURE).to("meta")
    assert split_experts(model) == 2
    names = dict(model.named_parameters())
    weight = names["model.layers.1.mlp.experts.3.up_proj.weight"]
    assert weight.is_meta
    assert weight.shape == (16, 32)


def test_a_model_without_experts_is_left_alone() -> None:
    assert split_experts(make_model("Llama")) == 0


def test_experts_of_another_kind_are_refused_and_left_whole() -> None:
    model = make_model("GptOss", num_local_experts=4, num_experts_per_tok=2, tied=False)
    with pytest.raises(ModelError, match="GptOssExperts"):
        split_experts(model)
    assert len(stacked_experts(model)) == 2
