"""NVIDIA's models."""

from __future__ import annotations

from swiftrl.models.layer_names import DENSE_GROUPS, LINEAR
from swiftrl.models.spec import HubId, ModelSpec, Towers, only_huggingface

__all__ = ["SPECS"]

SPECS = (
    ModelSpec(
        name="nemotron",
        architectures=("NemotronForCausalLM",),
        hub_ids=only_huggingface(
            "nvidia/Minitron-8B-Base",
            "mgoin/Nemotron-4-340B-Base-hf-FP8",
            "thhaus/nemotron3-8b",
            "nvidia/Minitron-4B-Base",
            "nvidia/Nemotron-Mini-4B-Instruct",
        ),
        template="nemotron",
        lora_targets=("q_proj", "k_proj", "v_proj", "o_proj", "up_proj", "down_proj"),
        min_transformers="4.44.0",
        capabilities=("base",),
        quant_groups=(("q_proj", "k_proj", "v_proj"), ("o_proj",), ("up_proj",), ("down_proj",)),
    ),
    ModelSpec(
        name="nemotron_h",
        architectures=("NemotronHForCausalLM",),
        hub_ids=(
            *only_huggingface(
                "nvidia/Nemotron-H-8B-Base-8K",
                "nvidia/Nemotron-H-47B-Base-8K",
                "nvidia/Nemotron-H-56B-Base-8K",
                "nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16",
                "nvidia/NVIDIA-Nemotron-Nano-9B-v2",
                "nvidia/NVIDIA-Nemotron-Nano-12B-v2",
            ),
            HubId(
                "nv-community/NVIDIA-Nemotron-3.5-Lightning-30B-A3B-BF16",
                "nvidia/NVIDIA-Nemotron-3.5-Lightning-30B-A3B-BF16",
            ),
            HubId(
                "nv-community/NVIDIA-Nemotron-3.5-Lightning-30B-A3B-NVFP4",
                "nvidia/NVIDIA-Nemotron-3.5-Lightning-30B-A3B-NVFP4",
            ),
            HubId(
                "nv-community/NVIDIA-Nemotron-3-Super-120B-A12B-BF16",
                "nvidia/NVIDIA-Nemotron-3-Super-120B-A12B-BF16",
            ),
        ),
        lora_targets=(
            "in_proj",
            "up_proj",
            "down_proj",
            "q_proj",
            "k_proj",
            "v_proj",
            "o_proj",
        ),
        min_transformers="5.3.0",
        reasoning="think",
        capabilities=("base", "chat", "tools", "reasoning"),
    ),
    ModelSpec(
        name="nemotron_h_omni",
        architectures=("NemotronH_Omni_Reasoning_V3",),
        hub_ids=only_huggingface("nvidia/Nemotron-3-Nano-Omni-30B-A3B-Reasoning-BF16"),
        modalities=("text", "image", "video", "audio"),
        lora_targets=(
            "in_proj",
            "up_proj",
            "down_proj",
            "q_proj",
            "k_proj",
            "v_proj",
            "o_proj",
        ),
        towers=Towers(
            vision=("vision_model", "vision_final_layernorm", "audio_tower"),
            aligner=("multi_modal_projector", "embed_audio"),
        ),
        min_transformers="5.18.0",
        reasoning="think",
        capabilities=("chat", "tools", "reasoning"),
    ),
    ModelSpec(
        name="nemotron_transcribe",
        architectures=("Nemotron3_5TranscribeForConditionalGeneration",),
        hub_ids=only_huggingface("nvidia/NVIDIA-Nemotron-3.5-Transcribe-30B-A4B"),
        modalities=("text", "audio"),
        lora_targets=(
            "in_proj",
            "up_proj",
            "down_proj",
            "q_proj",
            "k_proj",
            "v_proj",
            "o_proj",
        ),
        towers=Towers(
            vision=("audio_tower", "word_timestamp_encoder"), aligner=("multi_modal_projector",)
        ),
        min_transformers="5.22.0",
    ),
    ModelSpec(
        name="cosmos3_edge",
        architectures=("Cosmos3EdgeForConditionalGeneration",),
        hub_ids=only_huggingface("nvidia/Cosmos3-Edge"),
        modalities=("text", "image", "video"),
        stop_tokens=("<|im_end|>",),
        lora_targets=("q_proj", "k_proj", "v_proj", "o_proj", "fc1", "fc2"),
        towers=Towers(vision=("visual",), aligner=("projector",)),
        min_transformers="5.15.0",
    ),
    ModelSpec(
        name="cosmos3_omni",
        architectures=("Cosmos3OmniForConditionalGeneration",),
        hub_ids=only_huggingface("nvidia/Cosmos3-Nano"),
        modalities=("text", "image", "video"),
        stop_tokens=("<|im_end|>",),
        lora_targets=LINEAR,
        towers=Towers(
            vision=("visual",), aligner=("visual.merger", "visual.deepstack_merger_list")
        ),
        min_transformers="5.11.0",
        quant_groups=DENSE_GROUPS,
    ),
    ModelSpec(
        name="audio_flamingo3",
        architectures=("AudioFlamingo3ForConditionalGeneration",),
        hub_ids=only_huggingface("nvidia/audio-flamingo-3-hf", "nvidia/music-flamingo-hf"),
        modalities=("text", "audio"),
        stop_tokens=("<|im_end|>",),
        lora_targets=LINEAR,
        towers=Towers(vision=("audio_tower",), aligner=("multi_modal_projector",)),
        quant_groups=DENSE_GROUPS,
    ),
    ModelSpec(
        name="canary",
        architectures=("CanaryForConditionalGeneration",),
        hub_ids=only_huggingface("nvidia/canary-1b-v2"),
        modalities=("text", "audio"),
        lora_targets=("q_proj", "k_proj", "v_proj", "o_proj", "fc1", "fc2"),
        towers=Towers(vision=("model.encoder",)),
        min_transformers="5.17.0",
        capabilities=("base",),
    ),
    ModelSpec(
        name="dory",
        architectures=("DoryForCausalLM",),
        hub_ids=only_huggingface("nvidia/NVIDIA-Nemotron-Labs-Dory1.0-4B-BF16"),
        lora_targets=LINEAR,
        min_transformers="5.24.0",
    ),
    ModelSpec(
        name="deci_lm",
        architectures=("DeciLMForCausalLM",),
        hub_ids=only_huggingface("nvidia/Llama-3_3-Nemotron-Super-49B-v1"),
    ),
)
