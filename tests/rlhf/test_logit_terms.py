"""How a model ends: what its configuration names, and what it really does."""

from __future__ import annotations

import pytest
import torch
import transformers
from torch import nn
from tree_models import build

from swiftrl.models.backbone import backbone_of
from swiftrl.models.towers import keep_frozen_statistics
from swiftrl.rlhf.logit_terms import find_ending
from swiftrl.rlhf.logprobs import linear_logprobs


def test_terms_are_those_that_the_configuration_names():
    granite = build("granite")
    ending = find_ending(granite, backbone_of(granite), temperature=2.0)
    assert ending.terms.scale == pytest.approx(1 / 3)
    assert ending.terms.temperature == 2.0
    gemma = build("gemma2")
    assert find_ending(gemma, backbone_of(gemma)).terms.soft_cap == 30.0


def test_a_term_that_the_model_leaves_out_is_left_out():
    model = build("qwen2")
    model.config.logits_scaling = 3.0
    assert find_ending(model, backbone_of(model)).terms.scale == 1.0


def test_a_term_that_the_model_turns_round_is_turned_round():
    model = build("qwen2")
    model.config.logits_scaling = 3.0

    def scaled(module: nn.Module, inputs: object, output):
        output.logits = output.logits * 3.0
        return output

    model.register_forward_hook(scaled)
    assert find_ending(model, backbone_of(model)).terms.scale == pytest.approx(3.0)


def test_a_layer_before_the_head_and_padded_vocabulary_are_found():
    class Model(type(build("qwen2"))):
        def forward(self, input_ids: torch.Tensor, **_: object):
            output = self.model(input_ids=input_ids)
            output.logits = self.lm_head(self.dense(output.last_hidden_state))[..., :50]
            return output

    model = build("qwen2")
    model.__class__ = Model
    model.dense = nn.Linear(16, 16)
    ending = find_ending(model, backbone_of(model))
    assert ending.before_head is model.dense
    assert ending.vocabulary == 50


def test_frozen_batch_normalisation_keeps_its_statistics():
    frozen, trained = nn.BatchNorm1d(3).requires_grad_(False), nn.BatchNorm1d(3)
    model = nn.Sequential(frozen, trained).train()
    keep_frozen_statistics(model)
    before = frozen.running_mean.clone()
    model(torch.randn(8, 3) + 5)
    assert frozen.running_mean.equal(before)
    assert trained.running_mean.abs().max() > 0


def test_tokens_that_a_model_never_says_are_left_out_of_its_distribution():
    vision = {
        "embed_dim": 32, "num_embeddings": 2, "latent_channels": 32, "base_channels": 32,
        "channel_multiplier": [1], "num_res_blocks": 1, "resolution": 4,
    }  # fmt: skip
    config = transformers.ChameleonConfig(
        vocab_size=64, hidden_size=16, intermediate_size=16, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=2, vq_config=vision,
        vocabulary_map={"<image>": 60, "IMGIMGAZ": 50, "IMGIMGBZ": 51},
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformers.ChameleonForConditionalGeneration(config).eval()
    ending = find_ending(model, backbone_of(model))
    assert ending.unsaid.tolist() == [50, 51]
    ids = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        wanted = model(input_ids=ids).logits.log_softmax(-1)[0, -1, 8]
        hidden = model.model(input_ids=ids).last_hidden_state[0, -1:]
        found, _ = linear_logprobs(
            hidden, model.lm_head.weight, torch.tensor([8]), bias=ending.bias(model.lm_head)
        )
    assert float(found[0]) == pytest.approx(float(wanted), abs=1e-5)
