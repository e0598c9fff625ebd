"""How a model ends: what its configuration names, and what it really does."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from tree_models import build

from swiftrl.models.towers import keep_frozen_statistics
from swiftrl.rlhf.logit_terms import find_ending


def test_terms_are_those_that_the_configuration_names():
    granite = build("granite")
    ending = find_ending(granite, granite.model, temperature=2.0)
    assert ending.terms.scale == pytest.approx(1 / 3)
    assert ending.terms.temperature == 2.0
    gemma = build("gemma2")
    assert find_ending(gemma, gemma.model).terms.soft_cap == 30.0


def test_a_term_that_the_model_leaves_out_is_left_out():
    model = build("qwen2")
    model.config.logits_scaling = 3.0
    assert find_ending(model, model.model).terms.scale == 1.0


def test_a_term_that_the_model_turns_round_is_turned_round():
    model = build("qwen2")
    model.config.logits_scaling = 3.0

    def scaled(module: nn.Module, inputs: object, output):
        output.logits = output.logits * 3.0
        return output

    model.register_forward_hook(scaled)
    assert find_ending(model, model.model).terms.scale == pytest.approx(3.0)


def test_a_layer_before_the_head_and_padded_vocabulary_are_found():
    class Model(type(build("qwen2"))):
        def forward(self, input_ids: torch.Tensor, **_: object):
            output = self.model(input_ids=input_ids)
            output.logits = self.lm_head(self.dense(output.last_hidden_state))[..., :50]
            return output

    model = build("qwen2")
    model.__class__ = Model
    model.dense = nn.Linear(16, 16)
    ending = find_ending(model, model.model)
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
