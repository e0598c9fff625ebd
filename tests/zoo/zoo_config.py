"""A tiny configuration of any architecture, made by looking at its fields."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from transformers import AutoConfig, PreTrainedConfig

__all__ = ["VOCABULARY", "tiny_config"]

VOCABULARY = 320
LONGEST = 128
WINDOW = 6

_VALUES: dict[int, tuple[str, ...]] = {
    VOCABULARY: ("vocab_size", "vocab_size_per_layer_input"),
    VOCABULARY - 4: ("unpadded_vocab_size",),
    LONGEST: (
        "max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "context_length",
        "max_sequence_length", "original_max_position_embeddings",
    ),
    64: (
        "ffn_hidden_size", "ffn_dim", "dff", "dim_ff", "n_inner", "mlp_dim", "d_ff",
        "encoder_ffn_dim", "decoder_ffn_dim", "num_position_embeddings", "position_embedding_size",
        "max_num_patches",
    ),
    48: (
        "intermediate_size", "intermediate_size_mlp", "dense_intermediate_size",
        "prefix_dense_intermediate_size",
    ),
    32: (
        "hidden_size", "n_embd", "d_model", "embedding_dim", "word_embed_proj_dim", "lru_width",
        "dim_model_base", "query_pre_attn_scalar", "embed_dim", "out_hidden_size", "output_dim",
        "adapter_in_dim", "adapter_out_dim", "projection_dim", "projector_hidden_size",
        "projection_hidden_size", "projection_hidden_dim", "image_text_hidden_size",
        "text_hidden_size", "vision_hidden_size", "hidden_dim", "encoder_hidden_size",
        "alignment_intermediate_size", "downsample_hidden_size", "patch_embed_hidden_size",
        "output_channels", "projection_intermediate_size", "adapter_input_size",
    ),
    16: (
        "moe_intermediate_size", "shared_expert_intermediate_size", "shared_intermediate_size",
        "moe_shared_expert_intermediate_size", "shared_experts_intermediate_size",
        "expert_ffn_hidden_size", "q_lora_rank", "kv_lora_rank", "o_lora_rank",
        "hidden_size_per_layer_input", "laurel_rank", "router_hidden_size",
        # With few heads, keys often tie at a score of zero.
        "index_n_heads", "indexer_n_heads",
    ),
    8: (
        "head_dim", "v_head_dim", "qk_nope_head_dim", "index_head_dim", "indexer_head_dim",
        "swa_head_dim", "linear_key_head_dim", "linear_value_head_dim", "linear_head_dim",
        "dim_head", "kv_channels", "mamba_d_head", "mamba_head_dim", "mamba_d_state", "state_size",
        "ssm_state_size", "chunk_size", "mamba_chunk_size", "time_step_rank", "mamba_dt_rank",
        "index_topk", "attention_chunk_size", "block_size", "adapter_rank", "gated_norm_rank",
        "num_mel_bins", "max_source_positions", "resampler_head_dim",
    ),
    WINDOW: (
        "sliding_window", "sliding_window_size", "window_size", "local_attention",
        "attention_window_size", "keep_window_size",
    ),
    4: (
        "num_attention_heads", "n_head", "n_heads", "num_heads", "attention_heads",
        "swa_num_attention_heads", "mamba_n_heads", "mamba_num_heads", "linear_num_value_heads",
        "linear_num_heads", "num_experts", "num_local_experts", "n_routed_experts",
        "moe_num_experts", "qk_rope_head_dim", "rotary_dim",
        "encoder_attention_heads", "decoder_attention_heads", "mm_tokens_per_image",
        "num_query_tokens", "latent_query_num", "patch_size",
    ),
    2: (
        "num_hidden_layers", "n_layer", "n_layers", "num_layers", "num_blocks",
        "linear_num_key_heads", "zero_expert_num", "num_experts_per_tok", "moe_topk", "moe_k",
        "num_experts_per_token", "top_k_experts", "n_groups", "depth", "encoder_layers",
        "decoder_layers",
    ),
    1: (
        "n_group", "topk_group", "num_expert_group", "moe_layer_end_index", "first_k_dense_replace",
        "num_dense_layers", "moe_layer_start_index", "num_layers_per_stack", "num_kv_shared_layers",
        "insert_layer_id",
    ),
    0: ("pad_token_id", "num_nextn_predict_layers", "num_mtp_layers"),
}  # fmt: skip
_SIZES = {name: value for value, names in _VALUES.items() for name in names}
_TOKENS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
# Room at the end of the vocabulary, which plain text leaves alone.
_MEDIA = {"image": VOCABULARY - 1, "video": VOCABULARY - 2, "audio": VOCABULARY - 3}
_SPECIAL = (*range(VOCABULARY - 8, VOCABULARY - 3), *range(3, 8), *[VOCABULARY - 9] * 99)
_PATCHES = 4
"""Patches a side of a picture."""
_LAYER_COUNTS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "num_blocks")
_KV_HEADS = ("num_key_value_heads", "num_kv_heads", "swa_num_key_value_heads", "indexer_kv_heads")
_MOST_LAYERS = 4
_OFF = ("dropout", "pdrop", "drop_rate", "jitter", "layerdrop")


def tiny_config(
    config_class: type,
    changes: Mapping[str, Any] | None = None,
    known: Callable[[type], Mapping[str, Any]] = lambda _: {},
) -> Any:
    """Return a small configuration of a class: few layers, one of each kind, narrow, no dropout.

    Args:
        config_class: of transformers.
        changes: fields that get other values; a mapping for each configuration within.
        known: changes that every configuration of a class needs, here and within.
    """
    changes = {**known(config_class), **(changes or {})}
    default = config_class()
    parts = {
        name: getattr(default, name)
        for name in config_class.sub_configs
        if isinstance(getattr(default, name, None), PreTrainedConfig)
    }
    made: dict[str, Any] = {}
    parts |= {
        name: config_class.sub_configs[name]()
        for name in ("vision_config", "audio_config")
        if name in config_class.sub_configs
        and getattr(default, name, None) is None
        and config_class.sub_configs[name] is not AutoConfig
    }
    for name, part in parts.items():
        given = changes.pop(name, {})
        made[name] = tiny_config(type(part), given, known) if isinstance(given, Mapping) else given
    fields = {**_small_fields(default, parts), **made}
    return config_class(**{**_with_sections(default, fields), **changes})


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
    values |= _chosen_layers(fields) | _picture_sides(fields) | _placeholders(fields)
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
        return min(value, _SIZES[name])
    if _are_indices(name, value):
        return [1]
    return None


def _are_indices(name: str, value: Any) -> bool:
    """Return whether a field lists layers by their numbers, beyond those that are left."""
    listed = isinstance(value, (list, tuple)) and all(isinstance(item, int) for item in value)
    named = name.endswith(("_indexes", "_indices", "cross_attention_layers"))
    return named and listed and max(value, default=0) > 1


def _picture_sides(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return sizes of pictures and of their patches."""
    sides: dict[str, Any] = {}
    whole = _SIZES["patch_size"] * _PATCHES
    if isinstance(fields.get("image_grid_pinpoints"), (list, tuple)):
        sides["image_grid_pinpoints"] = [[whole, 2 * whole]]
    if "spatial_merge_size" in fields and isinstance(fields.get("window_size"), int):
        # In pixels here, and whole groups of patches.
        sides["window_size"] = whole
    patch = fields.get("patch_size")
    if isinstance(patch, (list, tuple)) and len(set(patch)) == 1:
        sides["patch_size"] = [_SIZES["patch_size"]] * len(patch)
    elif not isinstance(patch, int):
        return sides
    side = fields.get("image_size")
    if isinstance(side, (list, tuple)):
        sides["image_size"] = [whole] * len(side)
    elif isinstance(side, int):
        sides["image_size"] = whole
    return sides


def _placeholders(fields: Mapping[str, Any]) -> dict[str, int]:
    """Return ids of special tokens that text leaves alone, each its own."""
    tokens = {
        name: next((kind for kind in _MEDIA if name.startswith(f"{kind}_token_i")), "")
        for name, value in sorted(fields.items())
        if name.endswith(("_token_id", "_token_index"))
        and (isinstance(value, int) or (value is None and name.startswith(tuple(_MEDIA))))
        and name not in _TOKENS
        and not name.startswith(("decoder_start", "_pad", "forced_"))
    }
    others = iter(_SPECIAL)
    return {name: _MEDIA[kind] if kind else next(others) for name, kind in tokens.items()}


def _with_sections(default: Any, fields: dict[str, Any]) -> dict[str, Any]:
    """Split the frequencies of three-dimensional positions as heads of this width allow."""
    rope = fields.get("rope_parameters") or getattr(default, "rope_parameters", None)
    wanted = "mrope_section" in getattr(default, "ignore_keys_at_rope_validation", ())
    if not isinstance(rope, Mapping) or not ("mrope_section" in rope or wanted):
        return fields
    if any(isinstance(value, Mapping) for value in rope.values()):
        return fields
    width = fields.get("qk_rope_head_dim") or fields.get("head_dim")
    if width is None:
        width = fields["hidden_size"] // fields["num_attention_heads"]
    half = int(width * rope.get("partial_rotary_factor", 1.0)) // 2
    sections = [half - 2 * (half // 3), half // 3, half // 3]
    return {**fields, "rope_parameters": {**rope, "mrope_section": sections}}


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
