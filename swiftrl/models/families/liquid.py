"""Liquid AI's LFM models."""

from __future__ import annotations

from swiftrl.models.spec import ModelSpec, Towers, only_huggingface, same_ids

__all__ = ["SPECS"]

SPECS = (
    ModelSpec(
        name="lfm2",
        architectures=("Lfm2ForCausalLM",),
        hub_ids=(
            *only_huggingface(
                "LiquidAI/LFM2-1.2B",
                "LiquidAI/LFM2-700M",
                "LiquidAI/LFM2-350M",
                "LiquidAI/LFM2-2.6B",
                "LiquidAI/LFM2.5-1.2B-Base",
            ),
            *same_ids("LiquidAI/LFM2.5-1.2B-Instruct"),
        ),
        stop_tokens=("<|im_end|>",),
        lora_targets=("q_proj", "k_proj", "v_proj", "in_proj", "out_proj", "w1", "w3", "w2"),
        min_transformers="4.54.0",
        tool_syntax="lfm2",
        capabilities=("chat", "tools"),
        quant_groups=(
            ("in_proj",),
            ("q_proj", "k_proj", "v_proj"),
            ("out_proj",),
            ("w1", "w3"),
            ("w2",),
        ),
    ),
    ModelSpec(
        name="lfm2_moe",
        architectures=("Lfm2MoeForCausalLM",),
        hub_ids=only_huggingface("LiquidAI/LFM2-8B-A1B", "LiquidAI/LFM2-24B-A2B"),
        stop_tokens=("<|im_end|>",),
        lora_targets=("q_proj", "k_proj", "v_proj", "in_proj", "out_proj", "w1", "w3", "w2"),
        tool_syntax="lfm2",
        capabilities=("chat", "tools"),
        quant_groups=(
            ("in_proj",),
            ("q_proj", "k_proj", "v_proj"),
            ("out_proj",),
            ("w1", "w3"),
            ("w2",),
        ),
    ),
    ModelSpec(
        name="lfm3",
        architectures=("Lfm3ForCausalLM",),
        hub_ids=only_huggingface("LiquidAI/LFM3-1.7B"),
        stop_tokens=("<|im_end|>",),
        lora_targets=(
            "in_proj",
            "out_proj",
            "w1",
            "w3",
            "w2",
            "q_proj",
            "k_proj",
            "v_proj",
            "o_proj",
            "g_proj",
        ),
        min_transformers="5.23.0",
        capabilities=("chat", "tools"),
    ),
    ModelSpec(
        name="lfm2_vl",
        architectures=("Lfm2VlForConditionalGeneration",),
        hub_ids=(
            *same_ids("LiquidAI/LFM2-VL-450M"),
            *only_huggingface(
                "LiquidAI/LFM2-VL-1.6B", "LiquidAI/LFM2-VL-3B", "LiquidAI/LFM2.5-VL-1.6B"
            ),
        ),
        modalities=("text", "image"),
        stop_tokens=("<|im_end|>",),
        lora_targets=("q_proj", "k_proj", "v_proj", "in_proj", "out_proj", "w1", "w3", "w2"),
        towers=Towers(vision=("vision_tower",), aligner=("multi_modal_projector",)),
        quant_groups=(
            ("in_proj",),
            ("q_proj", "k_proj", "v_proj"),
            ("out_proj",),
            ("w1", "w3"),
            ("w2",),
        ),
    ),
    ModelSpec(
        name="lfm3_vl",
        architectures=("Lfm3VlForConditionalGeneration",),
        hub_ids=only_huggingface("LiquidAI/LFM3-VL-2B"),
        modalities=("text", "image"),
        stop_tokens=("<|im_end|>",),
        lora_targets=(
            "in_proj",
            "out_proj",
            "w1",
            "w3",
            "w2",
            "q_proj",
            "k_proj",
            "v_proj",
            "o_proj",
            "g_proj",
        ),
        towers=Towers(vision=("vision_tower",), aligner=("multi_modal_projector",)),
        min_transformers="5.23.0",
    ),
)
