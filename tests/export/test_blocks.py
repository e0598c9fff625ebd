"""Which layers are found, in which order they run, and groups that do not fit."""

import pytest
import torch
from tiny_models import make_llava, make_model

from swiftrl.core.errors import ConfigError
from swiftrl.export.layers import check_groups, find_blocks
from swiftrl.export.stages import behind, trace

QWEN = ["q_proj", "k_proj", "v_proj", "o_proj"]
MLP = ["gate_proj", "up_proj", "down_proj"]


def call(block, model, tokens=5):
    config = model.config.get_text_config()
    hidden = torch.randn(1, tokens, config.hidden_size)
    positions = torch.arange(tokens)[None]
    turned = model.get_decoder().rotary_emb(hidden, positions)
    return lambda: block(hidden, position_embeddings=turned, attention_mask=None)


def test_blocks_hold_every_linear_layer_but_the_head():
    blocks = find_blocks(make_model("Qwen3"), None)
    assert blocks.name == "model.layers"
    assert len(blocks) == 2
    assert set(blocks.chosen[1]) == {
        *(f"model.layers.1.self_attn.{name}" for name in QWEN),
        *(f"model.layers.1.mlp.{name}" for name in MLP),
    }
    assert blocks.skipped == ("lm_head",)


def test_towers_and_projectors_stay_as_they_are():
    blocks = find_blocks(make_llava(), None)
    assert len(blocks.layers) == 14
    assert all("vision" not in name and "projector" not in name for name in blocks.layers)
    assert any("vision_tower" in name for name in blocks.skipped)
    assert any("multi_modal_projector" in name for name in blocks.skipped)


def test_layers_are_left_out_by_name():
    blocks = find_blocks(make_model("Qwen3"), None, ["k_proj", "layers.1"])
    assert len(blocks.layers) == 6
    assert "model.layers.0.self_attn.k_proj" in blocks.skipped
    with pytest.raises(ConfigError, match=r"no linear layer has it.*down_proj"):
        find_blocks(make_model("Qwen3"), None, ["kproj"])


def test_stages_follow_the_order_of_execution():
    model = make_model("Qwen3")
    block = model.model.layers[0]
    names = [f"self_attn.{name}" for name in QWEN] + [f"mlp.{name}" for name in MLP]
    stages = trace(block, sorted(names), [call(block, model)])
    assert [set(stage.names) for stage in stages] == [
        {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"},
        {"self_attn.o_proj"},
        {"mlp.gate_proj", "mlp.up_proj"},
        {"mlp.down_proj"},
    ]
    assert set(behind(stages, 2)) == {"mlp.down_proj"}


def test_groups_that_do_not_divide_name_layers_and_the_largest_that_fits():
    model = make_model("Qwen3", hidden_size=64, head_dim=16, intermediate_size=96)
    with pytest.raises(ConfigError) as caught:
        check_groups(model, find_blocks(model, None), 64)
    text = str(caught.value)
    assert "model.layers.*.mlp.down_proj (x2, 96 inputs)" in text
    assert "--group_size 32 is the largest that fits all" in text
    check_groups(model, find_blocks(model, None), 32)
    check_groups(model, find_blocks(model, None), -1)


def test_groups_that_nothing_sensible_fits():
    model = make_model("Qwen3", intermediate_size=44)
    with pytest.raises(ConfigError, match="--modules_to_not_convert down_proj"):
        check_groups(model, find_blocks(model, None), 32)
