"""MiniMax's models."""

from __future__ import annotations

from swiftrl.models.layer_names import ATTENTION, ATTENTION_GROUPS, FUSED_MLP, FUSED_MLP_GROUPS
from swiftrl.models.spec import HubId, ModelSpec, Towers, only_huggingface

__all__ = ["SPECS"]

SPECS = (
    ModelSpec(
        name="minimax_hf",
        architectures=("MiniMaxForCausalLM",),
        hub_ids=(
            *only_huggingface("MiniMaxAI/MiniMax-Text-01-hf"),
            HubId("MiniMax/MiniMax-M1-40k-hf", "MiniMaxAI/MiniMax-M1-40k-hf"),
            HubId("MiniMax/MiniMax-M1-80k-hf", "MiniMaxAI/MiniMax-M1-80k-hf"),
        ),
        lora_targets=(
            "q_proj",
            "k_proj",
            "v_proj",
            "o_proj",
            "qkv_proj",
            "out_proj",
            "output_gate",
        ),
        min_transformers="4.53.0",
        tool_syntax="minimax_m1",
        capabilities=("chat", "tools"),
    ),
    ModelSpec(
        name="minimax_m2",
        architectures=("MiniMaxM2ForCausalLM",),
        hub_ids=(
            HubId("MiniMax/MiniMax-M2", "MiniMaxAI/MiniMax-M2"),
            HubId("MiniMax/MiniMax-M2.1", "MiniMaxAI/MiniMax-M2.1"),
            HubId("MiniMax/MiniMax-M2.5", "MiniMaxAI/MiniMax-M2.5"),
            HubId("MiniMax/MiniMax-M2.7", "MiniMaxAI/MiniMax-M2.7"),
        ),
        lora_targets=ATTENTION,
        tool_syntax="minimax_m2",
        reasoning="think",
        capabilities=("chat", "tools", "reasoning"),
        quant_groups=ATTENTION_GROUPS,
    ),
    ModelSpec(
        name="minimax_m3_vl",
        architectures=("MiniMaxM3SparseForConditionalGeneration",),
        hub_ids=(
            HubId("MiniMax/MiniMax-M3-MXFP8", "MiniMaxAI/MiniMax-M3-MXFP8"),
            HubId("MiniMax/MiniMax-M3", "MiniMaxAI/MiniMax-M3"),
        ),
        modalities=("text", "image", "video"),
        lora_targets=FUSED_MLP,
        towers=Towers(vision=("vision_tower",), aligner=("multi_modal_projector",)),
        min_transformers="5.12.0",
        tool_syntax="minimax_m3",
        reasoning="minimax_m3",
        capabilities=("chat", "tools", "reasoning"),
        quant_groups=FUSED_MLP_GROUPS,
    ),
    ModelSpec(
        name="minimax_m3_text",
        architectures=("MiniMaxM3VLForCausalLM",),
        lora_targets=FUSED_MLP,
        min_transformers="5.12.0",
        tool_syntax="minimax_m3",
        reasoning="minimax_m3",
        capabilities=("chat", "tools", "reasoning"),
        quant_groups=FUSED_MLP_GROUPS,
    ),
    ModelSpec(
        name="minimax",
        architectures=("MiniMaxText01ForCausalLM",),
        hub_ids=(HubId("MiniMax/MiniMax-Text-01", "MiniMaxAI/MiniMax-Text-01"),),
        tool_syntax="minimax_m1",
        capabilities=("chat", "tools"),
    ),
    ModelSpec(
        name="minimax_m1",
        architectures=("MiniMaxM1ForCausalLM",),
        hub_ids=(
            HubId("MiniMax/MiniMax-M1-40k", "MiniMaxAI/MiniMax-M1-40k"),
            HubId("MiniMax/MiniMax-M1-80k", "MiniMaxAI/MiniMax-M1-80k"),
        ),
        tool_syntax="minimax_m1",
        reasoning="think",
        capabilities=("chat", "tools", "reasoning"),
    ),
    ModelSpec(
        name="minimax_vl",
        architectures=("MiniMaxVL01ForConditionalGeneration",),
        hub_ids=(HubId("MiniMax/MiniMax-VL-01", "MiniMaxAI/MiniMax-VL-01"),),
        modalities=("text", "image"),
    ),
)
