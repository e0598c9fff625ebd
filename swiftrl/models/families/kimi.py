"""Moonshot AI's Kimi models in architectures of their own."""

from __future__ import annotations

from swiftrl.models.layer_names import LATENT, LATENT_GROUPS
from swiftrl.models.spec import ModelSpec, Towers, only_huggingface, same_ids

__all__ = ["SPECS"]

SPECS = (
    ModelSpec(
        name="kimi_linear",
        architectures=("KimiLinearForCausalLM",),
        hub_ids=(
            *only_huggingface("moonshotai/Kimi-Linear-48B-A3B-Base"),
            *same_ids("moonshotai/Kimi-Linear-48B-A3B-Instruct"),
        ),
        template="kimi",
        stop_tokens=("<|im_end|>",),
        lora_targets=(
            "q_proj",
            "k_proj",
            "v_proj",
            "f_a_proj",
            "f_b_proj",
            "b_proj",
            "g_a_proj",
            "g_b_proj",
            "o_proj",
            "gate_proj",
            "up_proj",
            "down_proj",
            "kv_a_proj_with_mqa",
            "kv_b_proj",
        ),
        min_transformers="5.17.0",
        tool_syntax="kimi_k2",
        capabilities=("base", "chat", "tools"),
    ),
    ModelSpec(
        name="kimi_k25",
        architectures=("Kimi_K25ForConditionalGeneration", "KimiK25ForConditionalGeneration"),
        hub_ids=same_ids(
            "moonshotai/Kimi-K2.5", "moonshotai/Kimi-K2.6", "moonshotai/Kimi-K2.7-Code"
        ),
        modalities=("text", "image", "video"),
        stop_tokens=("<|im_end|>",),
        lora_targets=LATENT,
        towers=Towers(vision=("vision_tower",), aligner=("mm_projector",)),
        min_transformers="5.13.0",
        tool_syntax="kimi_k2",
        reasoning="think",
        capabilities=("chat", "tools", "reasoning"),
        quant_groups=LATENT_GROUPS,
    ),
    ModelSpec(
        name="kimi_k3",
        architectures=("KimiK3ForConditionalGeneration",),
        hub_ids=same_ids("moonshotai/Kimi-K3"),
        modalities=("text", "image", "video"),
        stop_tokens=("<|im_end|>",),
        tool_syntax="kimi_k3",
        reasoning="kimi_k3",
        capabilities=("chat", "tools", "reasoning"),
    ),
    ModelSpec(
        name="kimi_vl",
        architectures=("KimiVLForConditionalGeneration",),
        hub_ids=same_ids(
            "moonshotai/Kimi-VL-A3B-Instruct",
            "moonshotai/Kimi-VL-A3B-Thinking",
            "moonshotai/Kimi-VL-A3B-Thinking-2506",
        ),
        modalities=("text", "image", "video"),
        stop_tokens=("<|im_end|>",),
        capabilities=("chat", "reasoning"),
    ),
    ModelSpec(
        name="kimi_audio",
        architectures=("KimiAudioForConditionalGeneration",),
        hub_ids=same_ids("moonshotai/Kimi-Audio-7B-Instruct"),
        modalities=("text", "audio"),
    ),
)
