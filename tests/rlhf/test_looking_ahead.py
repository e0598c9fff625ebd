"""Models whose tokens see those behind them, and those that read only a prompt both ways."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
import transformers
from tiny_models import make_model

from swiftrl.core.errors import ModelError
from swiftrl.data.batch import make_tree, pack
from swiftrl.models.backbone import backbone_of
from swiftrl.models.media_arguments import reads_prompt_both_ways
from swiftrl.rlhf.layout import choose_layout
from swiftrl.rlhf.media_inputs import media_rows


def test_a_model_that_looks_ahead_is_refused():
    model = make_model()
    model.model.norm.register_forward_hook(lambda _, __, out: out + out.mean(1, keepdim=True))
    with pytest.raises(ModelError, match="changes with the tokens behind it"):
        choose_layout(model)
    assert choose_layout(make_model()).layout == "tree"


def prefix_model() -> transformers.PreTrainedModel:
    sizes = {
        "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
        "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8,
    }  # fmt: skip
    text = transformers.GemmaConfig(**sizes, vocab_size=64)
    vision = transformers.SiglipVisionConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        image_size=8, patch_size=4,
    )  # fmt: skip
    config = transformers.PaliGemmaConfig(
        text_config=text, vision_config=vision, image_token_id=63, projection_dim=16
    )
    torch.manual_seed(0)
    return transformers.PaliGemmaForConditionalGeneration(config).eval()


def test_what_follows_the_prompt_is_marked_for_a_model_that_reads_prompts_both_ways():
    model = prefix_model()
    assert reads_prompt_both_ways(model) and not reads_prompt_both_ways(make_model())
    # Both replies begin with 7, so that the prompt is not all that they share.
    replies = [
        SimpleNamespace(token_ids=[3, 4, 5, *reply], loss_weights=[0, 0, 0, 1, 1])
        for reply in ([7, 8], [7, 9])
    ]
    batch = pack([make_tree(replies)])
    rows = batch.to_rows()
    (call,) = media_rows(model, backbone_of(model).reads, batch, rows)
    assert call.arguments["token_type_ids"].tolist() == [[0, 0, 0, 1, 1]] * 2
    choice = choose_layout(model)
    assert choice.layout == "rows" and "both directions" in choice.reason
