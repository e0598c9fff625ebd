"""Multimodal families of other makes: positions, pixels, and attention that trees do not know."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import transformers as tf
from torch import Tensor

from swiftrl.data.batch import Tree, TreeBatch, pack
from swiftrl.rlhf.layout import choose_layout, layout_error

PICTURE = 150
TEXT: dict[str, Any] = {
    "vocab_size": 200, "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512,
}  # fmt: skip
ROPE = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 3, 3]}
CLIP: dict[str, Any] = {
    "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
    "image_size": 16, "patch_size": 4,
}  # fmt: skip
GRID = {"depth": 2, "num_heads": 4, "patch_size": 4, "spatial_merge_size": 2}
IDS = {"image_token_id": PICTURE, "video_token_id": 151}


def qwen2_vl() -> tuple[Any, int, dict[str, Tensor]]:
    config = tf.Qwen2VLConfig(
        text_config=TEXT | {"rope_parameters": ROPE},
        vision_config=GRID | {"embed_dim": 32, "hidden_size": 64},
        **IDS,
    )
    return tf.Qwen2VLForConditionalGeneration(config), 6, patches()


def qwen2_5_vl() -> tuple[Any, int, dict[str, Tensor]]:
    vision = {"hidden_size": 32, "out_hidden_size": 64, "intermediate_size": 32}
    config = tf.Qwen2_5_VLConfig(
        text_config=TEXT | {"rope_parameters": ROPE},
        vision_config=GRID | vision | {"window_size": 16, "fullatt_block_indexes": [1]},
        **IDS,
    )
    return tf.Qwen2_5_VLForConditionalGeneration(config), 6, patches()


def llava() -> tuple[Any, int, dict[str, Tensor]]:
    config = tf.LlavaConfig(
        text_config=tf.LlamaConfig(**TEXT),
        vision_config=tf.CLIPVisionConfig(**CLIP),
        image_token_index=PICTURE,
    )
    model = tf.LlavaForConditionalGeneration(config)
    return model, 16, {"pixel_values": torch.randn(1, 3, 16, 16)}


def gemma3() -> tuple[Any, int, dict[str, Tensor]]:
    config = tf.Gemma3Config(
        text_config=TEXT | {"head_dim": 16, "sliding_window": 8},
        vision_config=CLIP,
        image_token_index=PICTURE,
        mm_tokens_per_image=4,
    )
    model = tf.Gemma3ForConditionalGeneration(config)
    return model, 4, {"pixel_values": torch.randn(1, 3, 16, 16)}


def patches() -> dict[str, Tensor]:
    return {"pixel_values": torch.randn(24, 96), "image_grid_thw": torch.tensor([[1, 4, 6]])}


def mixed(tokens: int, picture: dict[str, Tensor]) -> TreeBatch:
    def ids(*values: int) -> np.ndarray:
        return np.array(values, dtype=np.int32)

    weights = (np.ones(3, dtype=np.float32), np.ones(2, dtype=np.float32))
    branches = (ids(11, 12, 13), ids(14, 15))
    shown = ids(5, 6, *[PICTURE] * tokens, 9, 10)
    trunks = ((shown, picture), (ids(5, 6, 7), {}), (shown, picture))
    return pack([Tree(trunk, branches, weights, media=media) for trunk, media in trunks])


@pytest.mark.parametrize(
    ("build", "layout"),
    [(qwen2_vl, "tree"), (qwen2_5_vl, "tree"), (llava, "tree"), (gemma3, "rows")],
)
def test_family_gets_the_layout_that_its_attention_allows(
    build: Callable[[], tuple[Any, int, dict[str, Tensor]]], layout: str
):
    torch.manual_seed(0)
    model, tokens, picture = build()
    batch = mixed(tokens, picture)
    choice = choose_layout(model.eval(), pictures=batch)
    assert choice.layout == layout, choice.reason
    assert layout_error(model, layout, batch) < 1e-4
