"""DeepSeek's vision-language models that transformers implements."""

from __future__ import annotations

from swiftrl.models.layer_names import DENSE_GROUPS, LINEAR
from swiftrl.models.spec import ModelSpec, Towers, only_huggingface

__all__ = ["SPECS"]

SPECS = (
    ModelSpec(
        name="deepseek_vl_hf",
        architectures=("DeepseekVLForConditionalGeneration",),
        hub_ids=only_huggingface("deepseek-community/deepseek-vl-1.3b-chat"),
        modalities=("text", "image"),
        lora_targets=LINEAR,
        towers=Towers(vision=("vision_model",), aligner=("aligner",)),
        min_transformers="4.54.0",
        quant_groups=DENSE_GROUPS,
    ),
    ModelSpec(
        name="deepseek_vl_hybrid_hf",
        architectures=("DeepseekVLHybridForConditionalGeneration",),
        hub_ids=only_huggingface("deepseek-community/deepseek-vl-7b-chat"),
        modalities=("text", "image"),
        lora_targets=LINEAR,
        towers=Towers(
            vision=("vision_model", "high_res_vision_model"),
            aligner=(
                "aligner",
                "high_res_vision_neck",
                "high_res_vision_proj",
                "high_res_vision_alpha",
            ),
        ),
        quant_groups=DENSE_GROUPS,
    ),
    ModelSpec(
        name="janus",
        architectures=("JanusForConditionalGeneration",),
        hub_ids=only_huggingface(
            "deepseek-community/Janus-Pro-1B", "deepseek-community/Janus-Pro-7B"
        ),
        modalities=("text", "image"),
        lora_targets=LINEAR,
        towers=Towers(
            vision=("vision_model", "vqmodel", "generation_embeddings", "generation_head"),
            aligner=("aligner", "generation_aligner"),
        ),
        quant_groups=DENSE_GROUPS,
    ),
    ModelSpec(
        name="deepseek_ocr2_hf",
        architectures=("DeepseekOcr2ForConditionalGeneration",),
        hub_ids=only_huggingface("deepseek-community/DeepSeek-OCR-2"),
        modalities=("text", "image"),
        lora_targets=LINEAR,
        towers=Towers(
            vision=("vision_tower",), aligner=("multi_modal_projector", "view_separator")
        ),
        min_transformers="5.10.1",
        quant_groups=DENSE_GROUPS,
    ),
)
