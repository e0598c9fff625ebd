"""Ovis models of Alibaba International's AIDC."""

from __future__ import annotations

from swiftrl.models.layer_names import DENSE_GROUPS, LINEAR
from swiftrl.models.spec import Markers, ModelSpec, Towers, only_huggingface, same_ids

__all__ = ["SPECS"]

SPECS = (
    ModelSpec(
        name="ovis_ocr2",
        architectures=("Qwen3_5ForConditionalGeneration",),
        hub_ids=same_ids("ATH-MaaS/OvisOCR2"),
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
        towers=Towers(vision=("visual",), aligner=("visual.merger",)),
        min_transformers="5.2.0",
        markers=Markers(names=("ovisocr", "ovis-ocr")),
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
        name="ovis2_hf",
        architectures=("Ovis2ForConditionalGeneration",),
        hub_ids=only_huggingface("thisisiron/Ovis2-1B-hf", "thisisiron/Ovis2-2B-hf"),
        modalities=("text", "image"),
        stop_tokens=("<|im_end|>",),
        lora_targets=LINEAR,
        towers=Towers(vision=("vision_tower", "visual_embeddings_table")),
        quant_groups=DENSE_GROUPS,
    ),
    ModelSpec(
        name="ovis1_6",
        architectures=("Ovis",),
        hub_ids=same_ids(
            "AIDC-AI/Ovis1.6-Gemma2-9B",
            "AIDC-AI/Ovis1.6-Gemma2-9B-GPTQ-Int4",
            "AIDC-AI/Ovis1.6-Gemma2-27B",
            "AIDC-AI/Ovis1.6-Llama3.2-3B",
        ),
        modalities=("text", "image"),
    ),
    ModelSpec(
        name="ovis2",
        architectures=("Ovis",),
        hub_ids=same_ids(
            "AIDC-AI/Ovis2-1B",
            "AIDC-AI/Ovis2-2B",
            "AIDC-AI/Ovis2-4B",
            "AIDC-AI/Ovis2-8B",
            "AIDC-AI/Ovis2-16B",
            "AIDC-AI/Ovis2-34B",
        ),
        modalities=("text", "image", "video"),
        stop_tokens=("<|im_end|>",),
        markers=Markers(names=("ovis2",)),
    ),
    ModelSpec(
        name="ovis2_5",
        architectures=("Ovis2_5",),
        hub_ids=same_ids("AIDC-AI/Ovis2.5-2B", "AIDC-AI/Ovis2.5-9B"),
        modalities=("text", "image", "video"),
        stop_tokens=("<|im_end|>",),
        reasoning="think",
        capabilities=("chat", "reasoning"),
    ),
    ModelSpec(
        name="ovis2_6_moe",
        architectures=("Ovis2_6_MoeForCausalLM",),
        hub_ids=only_huggingface("AIDC-AI/Ovis2.6-30B-A3B"),
        modalities=("text", "image", "video"),
        stop_tokens=("<|im_end|>",),
    ),
    ModelSpec(
        name="ovis2_6",
        architectures=("Ovis2_6ForCausalLM",),
        modalities=("text", "image", "video"),
        stop_tokens=("<|im_end|>",),
    ),
)
