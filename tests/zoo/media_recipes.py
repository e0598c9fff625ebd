"""Multimodal architectures that the generic sizes and media do not fit: data only."""

from __future__ import annotations

from typing import Any

import torch
from zoo_recipes import Media, Recipe
from zoo_shapes import draw

__all__ = ["RECIPES"]

_NO_GRADIENT = "media become words of the vocabulary, so that no gradient reaches the encoder"

_ROPE: dict[str, Any] = {"rope_type": "default", "rope_theta": 1e4}
_SECTIONS: dict[str, Any] = {"rope_parameters": {**_ROPE, "mrope_section": [2, 1, 1]}}
_MARKS: dict[str, Any] = {
    "vision_start_token_id": 316, "vision_end_token_id": 315, "audio_start_token_id": 314,
    "audio_end_token_id": 313,
}  # fmt: skip
_CODEC: dict[str, Any] = {
    "num_filters": 4, "downsampling_ratios": [2, 2], "depths": [1, 1, 1],
}  # fmt: skip
_MUSE: dict[str, Any] = {"out_hidden_size": 128}
# Four frames side by side make one input of the projector.
_STACKED: dict[str, Any] = {"audio_config": {"intermediate_size": 128}}


def _molmo2_picture(model: Any) -> Media:
    """Two tiles of 16 patches, of which groups of four become a token."""
    groups = torch.arange(32).reshape(8, 4)
    tensors = {
        "pixel_values": draw(2, 16, 48),
        "image_token_pooling": groups,
        "image_grids": torch.tensor([[2, 2, 2, 2]]),
        "image_num_crops": torch.tensor([2]),
    }
    return Media((20, 21, *[model.config.image_patch_id] * 8, 20), tensors)


def _mllama_picture(model: Any) -> Media:
    """A tile that all tokens see in cross-attention."""
    tensors = {
        "pixel_values": draw(1, 1, 4, 3, 16, 16),
        "aspect_ratio_ids": torch.tensor([[1]]),
        "aspect_ratio_mask": torch.tensor([[[1, 0, 0, 0]]]),
    }
    return Media((20, 21, model.config.image_token_id, 20), tensors)


def _phi4_picture(model: Any) -> Media:
    """A whole picture and one tile of it, two by two tokens each, with marks between rows."""
    tensors = {
        "image_pixel_values": draw(1, 2, 3, 16, 16),
        "image_sizes": torch.tensor([[16, 16]]),
        "image_attention_mask": torch.ones(1, 2, 4, 4, dtype=torch.long),
    }
    return Media((20, 21, *[model.config.vision_config.image_token_id] * 13, 20), tensors)


def _inkling_picture(model: Any) -> Media:
    """Patches [patches, frames, height, width, channels], each a token."""
    tensors = {"pixel_values": draw(6, 2, 4, 4, 3)}
    return Media((20, 21, *[model.config.image_token_id] * 6, 20), tensors)


def _inkling_sound(model: Any) -> Media:
    """Bins of the spectrum's bands by number, a token a frame."""
    audio = model.config.audio_config
    bins = torch.arange(5 * audio.n_mel_bins).reshape(1, 5, -1) * 7 % audio.mel_vocab_size
    tensors = {"audio_input_ids": bins, "audio_input_ids_mask": torch.ones(1, 5).bool()}
    return Media((20, 21, *[model.config.audio_token_id] * 5, 20), tensors)


_CODES = 16
_VQ: dict[str, Any] = {
    # Normalised in 32 groups.
    "base_channels": 32, "latent_channels": 32, "embed_dim": 32, "num_res_blocks": 1,
}  # fmt: skip
_CODEBOOK: dict[str, dict[str, Any]] = {
    "ChameleonForConditionalGeneration": {
        "vq_config": {
            **_VQ, "num_embeddings": 6, "channel_multiplier": [1, 1], "resolution": 8,
        },
        "vocabulary_map": {
            "<image>": 319,
            # Beyond the words of the checks: it never says these.
            **{f"IMGIMG{chr(65 + n)}Z": 312 + n for n in range(6)},
        },
    },
    "Emu3ForConditionalGeneration": {
        "vq_config": {
            **_VQ, "latent_channels": 4, "embed_dim": 4, "codebook_size": _CODES,
            "channel_multiplier": [1, 1], "attn_resolutions": [1], "temporal_downsample_factor": 2,
        },
        "vocabulary_map": {
            "<image>": 319, "<|extra_200|>": 300,
            **{f"<|visual token {n:06}|>": 280 + n for n in range(_CODES)},
        },
    },
    "Apertus1p5ForConditionalGeneration": {
        "vision_config": {
            **_VQ, "codebook_size": _CODES, "channel_multiplier": [1, 1], "resolution": 16,
        },
        "audio_config": {"codebook_size": _CODES, "codebook_dim": 32},
        "image_token_offset": 280, "audio_token_offset": 280 + _CODES,
    },
}  # fmt: skip
"""Pictures and sounds become words of the vocabulary, by a codebook."""

_SIZES: dict[str, dict[str, Any]] = {
    "AriaForConditionalGeneration": {"projector_patch_to_query_dict": {16: 4}},
    "DeepseekOcr2ForConditionalGeneration": {
        "vision_config": {
            "sam_config": {"downsample_channels": [32, 32], "mlp_dim": 64, "image_size": 64},
        },
        "text_config": {
            "max_position_embeddings": 256, "num_experts_per_tok": 2, "num_key_value_heads": 4,
            "n_group": 1, "topk_group": 1,
            "mlp_layer_types": ["dense", "sparse"],
        },
    },
    "Ernie4_5_VLMoeForConditionalGeneration": {
        "text_config": {"rope_parameters": {**_ROPE, "mrope_section": [1, 1, 2]}},
    },
    "FunAsrNanoForConditionalGeneration": {"adaptor_config": {"intermediate_size": 8}},
    "Glm5NextForConditionalGeneration": {"text_config": {"index_kpool": 2}},
    "GlmAsrForConditionalGeneration": _STACKED,
    "Granite4VisionForConditionalGeneration": {
        "downsample_rate": "2/4",
        # Heads of its projectors are 64 wide, whatever the configuration says.
        "vision_config": {"hidden_size": 64},
        "deepstack_layer_map": [[-1, 0]],
        "spatial_target_layers": [1],
    },
    "GraniteSpeechForConditionalGeneration": {
        "window_size": 10, "has_lora_adapter": False, "encoder_config": {"context_size": 8},
    },
    "GraniteSpeechPlusForConditionalGeneration": {
        "window_size": 10, "has_lora_adapter": False, "encoder_config": {"context_size": 8},
    },
    "HunYuanVLForConditionalGeneration": {
        "text_config": {
            "head_dim": 8,
            "rope_parameters": {
                "rope_type": "dynamic", "rope_theta": 1e4, "alpha": 10.0, "factor": 1.0,
                "mrope_section": [1, 1, 1, 1],
            },
        },
    },
    "JanusForConditionalGeneration": {
        # Normalised in 32 groups.
        "vq_config": {"base_channels": 32, "latent_channels": 32, "num_embeddings": 64},
    },
    "MuseGlimmerForConditionalGeneration": _MUSE,
    "MuseSparkForConditionalGeneration": {
        **_MUSE,
        "audio_config": {"hidden_sizes": [32] * 4, "patch_sizes": [4, 2, 2, 2], "depths": [1] * 4,
                         "num_hidden_layers": 4},
    },
    "Nemotron3_5TranscribeForConditionalGeneration": {
        "audio_config": {"diarization_config": {"head_config": {"audio_hidden_size": 32}}},
    },
    "NemotronH_Omni_Reasoning_V3": {
        "vision_config": {"video_temporal_patch_size": 2},
        "audio_config": {
            "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
            "num_key_value_heads": 4, "intermediate_size": 48, "num_mel_bins": 8,
            "projection_hidden_size": 32, "projection_bias": False,
            "subsampling_conv_channels": 8, "max_position_embeddings": 128,
        },
    },
    "PaddleOCRVLForConditionalGeneration": {"text_config": _SECTIONS},
    "Qwen2_5OmniThinkerForConditionalGeneration": _MARKS,
    "Qwen3OmniMoeThinkerForConditionalGeneration": _MARKS,
    "Step3p7ForConditionalGeneration": {"text_config": {"sliding_window": 6}},
    "UnlimitedOcrForConditionalGeneration": {
        "vision_config": {"sam_config": {"downsample_channels": [32, 32], "image_size": 64},
                          "encoder_config": {"image_size": 64}},
    },
    "VibeVoiceAsrForConditionalGeneration": {
        "acoustic_tokenizer_encoder_config": _CODEC, "semantic_tokenizer_encoder_config": _CODEC,
        "text_config": {"max_position_embeddings": 256},
    },
    "VipLlavaForConditionalGeneration": {"vision_feature_layer": [-2, -1]},
    "VoxtralForConditionalGeneration": _STACKED,
}  # fmt: skip

_ONE_PLACEHOLDER = "one placeholder for both: transformers takes no picture and film in one batch"
_WITHOUT_FILMS = {
    name: _SIZES.get(name, {})
    for name in (
        "Glm46VForConditionalGeneration",
        "Glm4vForConditionalGeneration",
        "Glm4vMoeForConditionalGeneration",
        "Glm5NextForConditionalGeneration",
        "NemotronH_Omni_Reasoning_V3",
    )
}

RECIPES: dict[str, Recipe] = {
    **{name: Recipe(sizes=sizes) for name, sizes in _SIZES.items()},
    **{
        name: Recipe(sizes=sizes, without={"video": _ONE_PLACEHOLDER})
        for name, sizes in _WITHOUT_FILMS.items()
    },
    **{
        name: Recipe(sizes=sizes, left_out={"towers": _NO_GRADIENT})
        for name, sizes in _CODEBOOK.items()
    },
    "MllamaForConditionalGeneration": Recipe(
        sizes={"vision_config": {"attention_heads": 4, "vision_output_dim": 64}},
        media={"image": _mllama_picture},
    ),
    "InklingForConditionalGeneration": Recipe(
        # With fewer layers than steps in the size of patches, transformers wants scipy.
        sizes={"vision_config": {"num_hidden_layers": 4}},
        media={"image": _inkling_picture, "audio": _inkling_sound},
    ),
    "Molmo2ForConditionalGeneration": Recipe(
        sizes={
            "adapter_config": {"vision_feature_layer": [1, 0]},
            "vision_config": {"num_position_embeddings": 16},
            "image_patch_id": 319,
        },
        media={"image": _molmo2_picture},
        without={"video": "frames go the way of pictures' tiles"},
    ),
    "Phi4MultimodalForCausalLM": Recipe(
        sizes={
            "vision_config": {"crop_size": 16},
            "audio_config": {
                "ext_pw_out_channel": 32,
                "depthwise_separable_out_channel": 32,
                "nemo_conv_channels": 32,
                "chunk_size": -1,
            },
        },
        media={"image": _phi4_picture},
        without={"audio": "transformers projects sound otherwise where a picture is in the batch"},
    ),
    "Emu3ForCausalLM": Recipe(
        without={"image": "pictures come as words of its vocabulary, from a tokenizer of their own"}
    ),
}
