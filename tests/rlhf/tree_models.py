"""Tiny random models of many architectures, and batches of trees for them."""

import device
import numpy as np
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from swiftrl.data.batch import Tree, TreeBatch, pack

VOCABULARY = 61
COMMON = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "attention_dropout": 0.0,
}
HEADS = {"head_dim": 4}
EXPERTS = {"num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2}

TREE = {
    "qwen2": {},
    "qwen3": HEADS,
    "llama": {},
    "mistral": {**HEADS, "sliding_window": 3},
    "gemma2": {**HEADS, "sliding_window": 3, "query_pre_attn_scalar": 4, "num_hidden_layers": 3},
    "gemma3_text": {**HEADS, "sliding_window": 3, "query_pre_attn_scalar": 4},
    "phi3": {"sliding_window": 3},
    "mixtral": {**EXPERTS, "sliding_window": None},
    "qwen3_moe": {**HEADS, **EXPERTS, "moe_intermediate_size": 8},
    "gpt_oss": {**HEADS, **EXPERTS, "sliding_window": 3},
    "cohere2": {"sliding_window": 3},
    "granite": {"logits_scaling": 3.0, "embedding_multiplier": 2.0},
    "deepseek_v3": {
        "num_key_value_heads": 4, "n_routed_experts": 4, "num_experts_per_tok": 2,
        "moe_intermediate_size": 8, "q_lora_rank": 8, "kv_lora_rank": 8, "qk_rope_head_dim": 4,
        "qk_nope_head_dim": 4, "v_head_dim": 4, "n_group": 1, "topk_group": 1,
        "first_k_dense_replace": 1,
    },
    "gpt2": {"n_embd": 16, "n_layer": 2, "n_head": 4, "n_inner": 24, "attn_pdrop": 0.0,
             "resid_pdrop": 0.0, "embd_pdrop": 0.0},
}  # fmt: skip

ROWS = {
    "bloom": {"hidden_dropout": 0.0},
    "mamba": {"state_size": 4},
    "lfm2": {"layer_types": ["conv", "full_attention"]},
    "nemotron": {},
}

EAGER = {"gemma2", "gpt_oss", "bloom", "mamba"}


def build(name: str, **changes):
    """A model of architecture `name` whose attention matters: its weights have unit gain."""
    settings = {**COMMON, **(TREE | ROWS)[name], **changes}
    config = AutoConfig.for_model(name, **settings)
    torch.manual_seed(0)
    attention = "eager" if name in EAGER else "sdpa"
    model = AutoModelForCausalLM.from_config(config, attn_implementation=attention)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=parameter.shape[-1] ** -0.5)
        elif parameter.abs().max() == 0:
            torch.nn.init.normal_(parameter, std=0.1)
    return device.put(model).eval()


def forest(shapes, seed: int = 0) -> list[Tree]:
    """Random trees; a shape is (trunk, branch, branch, ...)."""
    generator = np.random.default_rng(seed)

    def some(length):
        return generator.integers(1, VOCABULARY, length).astype(np.int32)

    return [
        Tree(
            some(trunk),
            tuple(some(length) for length in branches),
            tuple(np.ones(length, dtype=np.float32) for length in branches),
        )
        for trunk, *branches in shapes
    ]


SHAPES = ((6, 5, 3), (4, 7, 2, 6), (9, 4), (0, 3, 4), (3, 0, 5), (5,), (1, 1, 1))


def packed(trees: list[Tree]) -> TreeBatch:
    return device.put(pack(trees))


def mixed_batch(seed: int = 0) -> TreeBatch:
    """Pairs, a group, a single reply, no trunk, an empty branch, a bare trunk."""
    return packed(forest(SHAPES, seed))
