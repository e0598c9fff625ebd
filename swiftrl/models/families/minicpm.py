"""OpenBMB's MiniCPM models."""

from __future__ import annotations

from swiftrl.models.layer_names import DENSE_GROUPS, LATENT, LATENT_GROUPS, LINEAR
from swiftrl.models.spec import HubId, Markers, ModelSpec, Towers, same_ids

__all__ = ["SPECS"]

SPECS = (
    ModelSpec(
        name="minicpm3",
        architectures=("MiniCPM3ForCausalLM",),
        hub_ids=(HubId("OpenBMB/MiniCPM3-4B", "openbmb/MiniCPM3-4B"),),
        stop_tokens=("<|im_end|>",),
        lora_targets=LATENT,
        capabilities=("chat", "tools"),
        quant_groups=LATENT_GROUPS,
    ),
    ModelSpec(
        name="minicpm5",
        architectures=("LlamaForCausalLM",),
        hub_ids=(
            HubId("OpenBMB/MiniCPM5-1B", "openbmb/MiniCPM5-1B"),
            HubId("OpenBMB/MiniCPM5-1B-Base", "openbmb/MiniCPM5-1B-Base"),
            HubId("OpenBMB/MiniCPM5-1B-SFT", "openbmb/MiniCPM5-1B-SFT"),
            HubId("OpenBMB/MiniCPM5-2B", "openbmb/MiniCPM5-2B"),
            HubId("OpenBMB/MiniCPM5-2B-Base", "openbmb/MiniCPM5-2B-Base"),
            HubId("OpenBMB/MiniCPM5-2B-SFT", "openbmb/MiniCPM5-2B-SFT"),
        ),
        stop_tokens=("<|im_end|>",),
        lora_targets=LINEAR,
        min_transformers="4.28.0",
        markers=Markers(names=("minicpm5",)),
        reasoning="think",
        capabilities=("base", "chat", "tools", "reasoning"),
        quant_groups=DENSE_GROUPS,
    ),
    ModelSpec(
        name="minicpmv4_6",
        architectures=("MiniCPMV4_6ForConditionalGeneration",),
        hub_ids=(HubId("OpenBMB/MiniCPM-V-4.6", "openbmb/MiniCPM-V-4.6"),),
        modalities=("text", "image", "video"),
        stop_tokens=("<|im_end|>",),
        lora_targets=(
            "out_proj",
            "in_proj_qkv",
            "in_proj_z",
            "in_proj_b",
            "in_proj_a",
            "gate_proj",
            "up_proj",
            "down_proj",
            "q_proj",
            "k_proj",
            "v_proj",
            "o_proj",
        ),
        towers=Towers(
            vision=("vision_tower",), aligner=("model.merger", "vision_tower.vit_merger")
        ),
        min_transformers="5.7.0",
        quant_groups=(
            ("in_proj_qkv", "in_proj_z", "in_proj_b", "in_proj_a"),
            ("out_proj",),
            ("q_proj", "k_proj", "v_proj"),
            ("o_proj",),
            ("gate_proj", "up_proj"),
            ("down_proj",),
        ),
    ),
    ModelSpec(
        name="minicpmv4_7",
        architectures=("MiniCPMV4_7ForConditionalGeneration",),
        hub_ids=(
            HubId("OpenBMB/MiniCPM-V-4.7-1B", "openbmb/MiniCPM-V-4.7-1B"),
            HubId("OpenBMB/MiniCPM-V-4.7-35B-A3B", "openbmb/MiniCPM-V-4.7-35B-A3B"),
        ),
        modalities=("text", "image", "video"),
        stop_tokens=("<|im_end|>",),
        lora_targets=(
            "out_proj",
            "in_proj_qkv",
            "in_proj_z",
            "in_proj_b",
            "in_proj_a",
            "gate_proj",
            "up_proj",
            "down_proj",
            "q_proj",
            "k_proj",
            "v_proj",
            "o_proj",
        ),
        towers=Towers(
            vision=("vision_tower",), aligner=("model.merger", "vision_tower.vit_merger")
        ),
        min_transformers="5.18.0",
        quant_groups=(
            ("in_proj_qkv", "in_proj_z", "in_proj_b", "in_proj_a"),
            ("out_proj",),
            ("q_proj", "k_proj", "v_proj"),
            ("o_proj",),
            ("gate_proj", "up_proj"),
            ("down_proj",),
        ),
    ),
    ModelSpec(
        name="minicpm_ocr",
        architectures=("MiniCPMOcrForConditionalGeneration",),
        hub_ids=same_ids("openbmb/MiniCPM-OCR-1.0"),
        modalities=("text", "image"),
        stop_tokens=("<|im_end|>",),
        lora_targets=(
            "out_proj",
            "in_proj_qkv",
            "in_proj_z",
            "in_proj_b",
            "in_proj_a",
            "gate_proj",
            "up_proj",
            "down_proj",
            "q_proj",
            "k_proj",
            "v_proj",
            "o_proj",
        ),
        towers=Towers(
            vision=("vision_tower",), aligner=("model.merger", "vision_tower.vit_merger")
        ),
        quant_groups=(
            ("in_proj_qkv", "in_proj_z", "in_proj_b", "in_proj_a"),
            ("out_proj",),
            ("q_proj", "k_proj", "v_proj"),
            ("o_proj",),
            ("gate_proj", "up_proj"),
            ("down_proj",),
        ),
    ),
    ModelSpec(
        name="cpmant",
        architectures=("CpmAntForCausalLM",),
        hub_ids=same_ids("openbmb/cpm-ant-10b"),
        lora_targets=(
            "project_q",
            "project_k",
            "project_v",
            "attention_out",
            "w_0",
            "w_1",
            "w_out",
        ),
        capabilities=("base",),
    ),
    ModelSpec(
        name="minicpm",
        architectures=("MiniCPMForCausalLM",),
        hub_ids=(
            *same_ids("openbmb/MiniCPM-S-1B-sft"),
            HubId("OpenBMB/miniCPM-bf16", "openbmb/MiniCPM-2B-sft-bf16"),
            HubId("OpenBMB/MiniCPM-2B-dpo-bf16", "openbmb/MiniCPM-2B-dpo-bf16"),
            HubId("OpenBMB/MiniCPM-2B-sft-fp32", "openbmb/MiniCPM-2B-sft-fp32"),
            HubId("OpenBMB/MiniCPM-2B-dpo-fp32", "openbmb/MiniCPM-2B-dpo-fp32"),
            HubId("OpenBMB/MiniCPM-1B-sft-bf16", "openbmb/MiniCPM-1B-sft-bf16"),
            HubId("OpenBMB/MiniCPM-MoE-8x2B", "openbmb/MiniCPM-MoE-8x2B"),
        ),
    ),
    ModelSpec(
        name="minicpm_chatml",
        architectures=("MiniCPMForCausalLM",),
        hub_ids=(
            HubId("OpenBMB/MiniCPM-2B-128k", "openbmb/MiniCPM-2B-128k"),
            HubId("OpenBMB/MiniCPM4-0.5B", "openbmb/MiniCPM4-0.5B"),
            HubId("OpenBMB/MiniCPM4-8B", "openbmb/MiniCPM4-8B"),
        ),
        stop_tokens=("<|im_end|>",),
        markers=Markers(tokens=("<|im_end|>",)),
    ),
    ModelSpec(
        name="minicpmv",
        architectures=("MiniCPMV",),
        hub_ids=(
            HubId("OpenBMB/MiniCPM-V", "openbmb/MiniCPM-V"),
            HubId("OpenBMB/MiniCPM-V-2", "openbmb/MiniCPM-V-2"),
            HubId("OpenBMB/MiniCPM-Llama3-V-2_5", "openbmb/MiniCPM-Llama3-V-2_5"),
            HubId("OpenBMB/MiniCPM-V-2_6", "openbmb/MiniCPM-V-2_6"),
            HubId("OpenBMB/MiniCPM-V-4", "openbmb/MiniCPM-V-4"),
            HubId("OpenBMB/MiniCPM-V-4_5", "openbmb/MiniCPM-V-4_5"),
        ),
        modalities=("text", "image", "video"),
        stop_tokens=("<|im_end|>",),
    ),
    ModelSpec(
        name="minicpmo",
        architectures=("MiniCPMO",),
        hub_ids=(
            HubId("OpenBMB/MiniCPM-o-2_6", "openbmb/MiniCPM-o-2_6"),
            HubId("OpenBMB/MiniCPM-o-4_5", "openbmb/MiniCPM-o-4_5"),
        ),
        modalities=("text", "image", "video", "audio"),
        stop_tokens=("<|im_end|>",),
    ),
)
