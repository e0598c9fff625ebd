"""A tiny configuration of any architecture, made by looking at its fields."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from transformers import PreTrainedConfig

__all__ = ["VOCABULARY", "tiny_config"]

VOCABULARY = 320
LONGEST = 128
WINDOW = 6

_VALUES: dict[int, tuple[str, ...]] = {
    VOCABULARY: ("vocab_size", "vocab_size_per_layer_input", "unpadded_vocab_size"),
    LONGEST: (
        "max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "context_length",
        "max_sequence_length", "original_max_position_embeddings",
    ),
    64: ("ffn_hidden_size", "ffn_dim", "dff", "dim_ff", "n_inner"),
    48: (
        "intermediate_size", "intermediate_size_mlp", "dense_intermediate_size",
        "prefix_dense_intermediate_size",
    ),
    32: (
        "hidden_size", "n_embd", "d_model", "embedding_dim", "word_embed_proj_dim", "lru_width",
        "dim_model_base", "query_pre_attn_scalar", "embed_dim",
    ),
    16: (
        "moe_intermediate_size", "shared_expert_intermediate_size", "shared_intermediate_size",
        "moe_shared_expert_intermediate_size", "shared_experts_intermediate_size",
        "expert_ffn_hidden_size", "q_lora_rank", "kv_lora_rank", "o_lora_rank",
        "hidden_size_per_layer_input", "laurel_rank", "router_hidden_size",
    ),
    8: (
        "head_dim", "v_head_dim", "qk_nope_head_dim", "index_head_dim", "indexer_head_dim",
        "swa_head_dim", "linear_key_head_dim", "linear_value_head_dim", "linear_head_dim",
        "dim_head", "kv_channels", "mamba_d_head", "mamba_head_dim", "mamba_d_state", "state_size",
        "ssm_state_size", "chunk_size", "mamba_chunk_size", "time_step_rank", "mamba_dt_rank",
        "index_topk", "attention_chunk_size", "block_size", "adapter_rank", "gated_norm_rank",
    ),
    WINDOW: (
        "sliding_window", "sliding_window_size", "window_size", "local_attention",
        "attention_window_size", "keep_window_size",
    ),
    4: (
        "num_attention_heads", "n_head", "n_heads", "num_heads", "attention_heads",
        "swa_num_attention_heads", "mamba_n_heads", "mamba_num_heads", "linear_num_value_heads",
        "linear_num_heads", "num_experts", "num_local_experts", "n_routed_experts",
        "moe_num_experts", "qk_rope_head_dim", "rotary_dim", "index_n_heads", "indexer_n_heads",
    ),
    2: (
        "num_hidden_layers", "n_layer", "n_layers", "num_layers", "num_blocks",
        "linear_num_key_heads", "zero_expert_num", "num_experts_per_tok", "moe_topk", "moe_k",
        "num_experts_per_token", "top_k_experts", "n_groups",
    ),
    1: (
        "n_group", "topk_group", "num_expert_group", "moe_layer_end_index", "first_k_dense_replace",
        "num_dense_layers", "moe_layer_start_index", "num_layers_per_stack", "num_kv_shared_layers",
    ),
    0: ("pad_token_id", "num_nextn_predict_layers", "num_mtp_layers"),
}  # fmt: skip
_SIZES = {name: value for value, names in _VALUES.items() for name in names}
_TOKENS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
_LAYER_COUNTS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "num_blocks")
_KV_HEADS = ("num_key_value_heads", "num_kv_heads", "swa_num_key_value_heads", "indexer_kv_heads")
_MOST_LAYERS = 4
_OFF = ("dropout", "pdrop", "drop_rate", "jitter", "layerdrop")


def tiny_config(config_class: type, changes: Mapping[str, Any] | None = None) -> Any:
    """Return a small configuration of a class: few layers, one of each kind, narrow, no dropout.

    Args:
        config_class: of transformers.
        changes: fields that get other values; a mapping for each configuration within.
    """
    changes = dict(changes or {})
    default = config_class()
    parts = {
        name: getattr(default, name)
        for name in config_class.sub_configs
        if isinstance(getattr(default, name, None), PreTrainedConfig)
    }
    made: dict[str, Any] = {}
    for name, part in parts.items():
        given = changes.pop(name, {})
        made[name] = tiny_config(type(part), given) if isinstance(given, Mapping) else given
    return config_class(**{**_small_fields(default, parts), **made, **changes})


def _small_fields(default: Any, parts: Mapping[str, Any]) -> dict[str, Any]:
    fields = {
        field.name: _value(default, field.name)
        for field in dataclasses.fields(default)
        if field.init and field.name not in parts
    }
    known = {field.name for field in dataclasses.fields(PreTrainedConfig)}
    values = {
        name: _small(name, value, fields)
        for name, value in fields.items()
        if name not in known or name in _TOKENS
    }
    values |= _chosen_layers(fields)
    values |= {name: value for name, value in _TOKENS.items() if name in fields}
    return {name: value for name, value in values.items() if value is not None}


def _value(default: Any, name: str) -> Any:
    # A heterogeneous configuration refuses to name one value for all layers.
    try:
        return getattr(default, name, None)
    except RuntimeError:
        return default.__dict__.get(name)


def _small(name: str, value: Any, fields: Mapping[str, Any]) -> Any:
    """Return a field's small value; None leaves the class's own default."""
    if value is None or isinstance(value, bool):
        return None
    if name in _KV_HEADS:
        return _key_value_heads(name, value, fields)
    if isinstance(value, (int, float)) and any(word in name for word in _OFF):
        return type(value)(0)
    if isinstance(value, int) and name in _SIZES:
        # Zero switches a part off; what is small already stays.
        return min(value, _SIZES[name]) if value < _SIZES[name] else _SIZES[name]
    return None


def _key_value_heads(name: str, value: int, fields: Mapping[str, Any]) -> int:
    """Keep what is special: one head for all, or as many as queries have; else two."""
    queries = {
        "swa_num_key_value_heads": "swa_num_attention_heads",
        "num_key_value_heads": "num_attention_heads",
    }.get(name, "num_attention_heads")
    if value == 1:
        return 1
    return 4 if value == fields.get(queries) else 2


def _chosen_layers(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return layer counts and per-layer lists that keep the first layer of every kind."""
    count_name = next((name for name in _LAYER_COUNTS if fields.get(name)), None)
    if count_name is None:
        return {}
    count = fields[count_name]
    lists = {
        name: value
        for name, value in fields.items()
        if isinstance(value, (list, tuple)) and len(value) == count and not name.startswith("mtp")
    }
    kinds = list(zip(*(map(repr, value) for value in lists.values()), strict=True))
    first = sorted({kind: index for index, kind in reversed(list(enumerate(kinds)))}.values())
    chosen = first[:_MOST_LAYERS] if len(first) > 1 else list(range(min(2, count)))
    scaled = {name: [value[index] for index in chosen] for name, value in lists.items()}
    return {count_name: len(chosen), **{name: _small_list(name, v) for name, v in scaled.items()}}


def _small_list(name: str, values: list[Any]) -> list[Any]:
    """Shrink sizes given layer by layer."""
    if name not in _SIZES or not all(isinstance(value, int) for value in values):
        return values
    return [min(value, _SIZES[name]) for value in values]
