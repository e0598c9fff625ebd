"""Weights that several modules share: one adapter, merged once."""

from __future__ import annotations

import device
import torch
from tiny_models import make_model

from swiftrl.models.config import TunerConfig
from swiftrl.models.lora import add_lora
from swiftrl.models.merge import merge
from swiftrl.models.tied_adapters import repeated_layers


def test_modules_with_one_weight_share_their_adapter_and_merge_once():
    base = make_model()
    first, second = (layer.self_attn for layer in base.model.layers)
    second.q_proj.weight = first.q_proj.weight
    adapted = add_lora(base, TunerConfig(lora_dropout=0.0, target_modules=["q_proj"]))
    assert len(repeated_layers(adapted)) == 1
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.2)
    assert first.q_proj.lora_B is second.q_proj.lora_B
    ids = device.put(torch.arange(3, 15)[None])
    with torch.no_grad():
        wanted = adapted(input_ids=ids).logits
        found = merge(adapted)(input_ids=ids).logits
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-3)
