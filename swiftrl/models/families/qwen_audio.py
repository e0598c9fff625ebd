"""Qwen: audio and omni models of Alibaba's Qwen team."""

from __future__ import annotations

from swiftrl.models.layer_names import ATTENTION, ATTENTION_GROUPS, DENSE_GROUPS, LINEAR
from swiftrl.models.spec import ModelSpec, Towers, same_ids

__all__ = ["SPECS"]

SPECS = (
    ModelSpec(
        name="qwen2_audio",
        architectures=("Qwen2AudioForConditionalGeneration",),
        hub_ids=same_ids("Qwen/Qwen2-Audio-7B-Instruct", "Qwen/Qwen2-Audio-7B"),
        modalities=("text", "audio"),
        stop_tokens=("<|im_end|>",),
        lora_targets=LINEAR,
        towers=Towers(vision=("audio_tower",), aligner=("multi_modal_projector",)),
        min_transformers="4.45.0",
        capabilities=("base", "chat"),
        quant_groups=DENSE_GROUPS,
    ),
    ModelSpec(
        name="qwen2_5_omni",
        architectures=("Qwen2_5OmniForConditionalGeneration", "Qwen2_5OmniModel"),
        hub_ids=same_ids("Qwen/Qwen2.5-Omni-3B", "Qwen/Qwen2.5-Omni-7B"),
        modalities=("text", "image", "video", "audio"),
        stop_tokens=("<|im_end|>",),
        lora_targets=LINEAR,
        towers=Towers(vision=("visual", "audio_tower"), aligner=("visual.merger",)),
        min_transformers="4.52.0",
        quant_groups=DENSE_GROUPS,
        trains_as="Qwen2_5OmniThinkerForConditionalGeneration",
    ),
    ModelSpec(
        name="qwen3_omni_moe",
        architectures=("Qwen3OmniMoeForConditionalGeneration",),
        hub_ids=same_ids(
            "Qwen/Qwen3-Omni-30B-A3B-Instruct",
            "Qwen/Qwen3-Omni-30B-A3B-Thinking",
            "Qwen/Qwen3-Omni-30B-A3B-Captioner",
        ),
        modalities=("text", "image", "video", "audio"),
        stop_tokens=("<|im_end|>",),
        lora_targets=ATTENTION,
        towers=Towers(
            vision=("visual", "audio_tower"), aligner=("visual.merger", "visual.merger_list")
        ),
        min_transformers="4.57.0",
        reasoning="think",
        capabilities=("chat", "reasoning"),
        quant_groups=ATTENTION_GROUPS,
        trains_as="Qwen3OmniMoeThinkerForConditionalGeneration",
    ),
    ModelSpec(
        name="qwen3_asr",
        architectures=("Qwen3ASRForConditionalGeneration",),
        hub_ids=same_ids("Qwen/Qwen3-ASR-1.7B-hf", "Qwen/Qwen3-ASR-1.7B", "Qwen/Qwen3-ASR-0.6B"),
        modalities=("text", "audio"),
        stop_tokens=("<|im_end|>",),
        lora_targets=LINEAR,
        towers=Towers(vision=("audio_tower",), aligner=("multi_modal_projector",)),
        min_transformers="5.13.0",
        quant_groups=DENSE_GROUPS,
    ),
    ModelSpec(
        name="qwen2_5_omni_thinker",
        architectures=("Qwen2_5OmniThinkerForConditionalGeneration",),
        modalities=("text", "image", "video", "audio"),
        stop_tokens=("<|im_end|>",),
        lora_targets=LINEAR,
        towers=Towers(vision=("visual", "audio_tower"), aligner=("visual.merger",)),
        quant_groups=DENSE_GROUPS,
    ),
    ModelSpec(
        name="qwen3_omni_moe_thinker",
        architectures=("Qwen3OmniMoeThinkerForConditionalGeneration",),
        modalities=("text", "image", "video", "audio"),
        stop_tokens=("<|im_end|>",),
        lora_targets=ATTENTION,
        towers=Towers(
            vision=("visual", "audio_tower"), aligner=("visual.merger", "visual.merger_list")
        ),
        reasoning="think",
        capabilities=("chat", "reasoning"),
        quant_groups=ATTENTION_GROUPS,
    ),
)
