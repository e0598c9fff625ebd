"""Text architectures that the generic sizes do not fit: data only."""

from __future__ import annotations

from typing import Any

from zoo_recipes import Recipe

__all__ = ["RECIPES"]

_ROPE: dict[str, Any] = {
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e4},
}
_EXPERTS: dict[str, Any] = {
    "n_routed_experts": 4, "num_experts_per_tok": 2, "n_shared_experts": 1, "n_group": 1,
    "topk_group": 1,
}  # fmt: skip

_SIZES: dict[str, dict[str, Any]] = {
    "BambaForCausalLM": {"mamba_n_heads": 8, "attn_layer_indices": [1]},
    "BltForCausalLM": {
        "encoder_hash_byte_group_vocab": 64, "local_attention_window_len": 6, "vocab_size": 320,
        "encoder_config": {"hidden_size_global": 64, "vocab_size": 320},
        "decoder_config": {"hidden_size_global": 64, "vocab_size": 320},
        "global_config": {"hidden_size": 64}, "patcher_config": {"vocab_size": 320},
    },
    "CohereCompassForCausalLM": {
        "layer_types": ["sliding_attention", "full_attention"],
        "rope_parameters": {
            "sliding_attention": _ROPE["rope_parameters"],
            "full_attention": _ROPE["rope_parameters"],
        },
    },
    "DbrxForCausalLM": {
        "attn_config": {"rope_theta": 1e4, "kv_n_heads": 2, "clip_qkv": 8.0},
        "ffn_config": {"ffn_hidden_size": 48, "moe_num_experts": 4, "moe_top_k": 2},
    },
    "DeepseekV2ForCausalLM": {"num_experts_per_tok": 2, "first_k_dense_replace": 1},
    "Dots1ForCausalLM": {**_EXPERTS, "first_k_dense_replace": 1},
    "FalconH1ForCausalLM": {"mamba_n_heads": 8, "mamba_d_ssm": 64},
    "GPTNeoForCausalLM": {"attention_types": [[["global", "local"], 1]]},
    "GraniteMoeHybridForCausalLM": {
        "mamba_n_heads": 8,
        "layer_types": ["linear_attention", "full_attention"],
    },
    # One cache slot a layer and cycle.
    "HrmTextForCausalLM": {"num_hidden_layers": 8},
    "HunYuanDenseV1ForCausalLM": {"head_dim": 8, "num_key_value_heads": 2},
    "HunYuanMoEV1ForCausalLM": {
        "head_dim": 8, "num_key_value_heads": 2, "num_experts": 4, "moe_topk": 2,
    },
    "JambaForCausalLM": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "Lfm2ForCausalLM": {"layer_types": ["conv", "full_attention"], "num_hidden_layers": 2},
    "Lfm2MoeForCausalLM": {
        "layer_types": ["conv", "full_attention"],
        "num_dense_layers": 1,
    },
    "LongcatFlashForCausalLM": {"qk_head_dim": 12, "head_dim": 4},
    "Mamba2ForCausalLM": {"num_heads": 8},
    "MinistralForCausalLM": {**_ROPE, "num_key_value_heads": 2, "head_dim": 8},
    "NemotronForCausalLM": {"num_key_value_heads": 2},
    "Qwen4ExpForCausalLM": {
        "indexer_n_heads": 4, "indexer_kv_heads": 1, "indexer_head_dim": 8, "indexer_budget": 8,
        "indexer_compress_ratio": 2,
    },
    "RecurrentGemmaForCausalLM": {"num_hidden_layers": 3},
    "ZambaForCausalLM": {
        "num_hidden_layers": 4, "attn_layer_period": 2, "attn_layer_offset": 1,
        "attention_hidden_size": 64, "attention_head_dim": 16,
        "layers_block_type": ["linear_attention", "hybrid"] * 2,
    },
}  # fmt: skip

_CAUSES = {
    "CpmAntForCausalLM": "every token sees those behind it, replies included, as transformers has "
    "it: one pass does not give the probabilities that it writes by, and its mask of padding is "
    "made for padding on the left",
    "YoutuForCausalLM": "transformers 5.24 sets the padding token's embedding to zero after "
    "loading (`_init_weights` of Youtu passes over the mark on loaded weights), and with it that "
    "token's logit, as its head is the embedding",
}

RECIPES: dict[str, Recipe] = {
    name: Recipe(sizes=_SIZES.get(name, {}), cause=_CAUSES.get(name, ""))
    for name in {*_SIZES, *_CAUSES}
}
