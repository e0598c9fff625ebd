"""Baidu's ERNIE and document models."""

from __future__ import annotations

from swiftrl.models.layer_names import DENSE_GROUPS, FAIRSEQ, FAIRSEQ_GROUPS, LINEAR
from swiftrl.models.spec import HubId, Markers, ModelSpec, Towers, only_huggingface, same_ids

__all__ = ["SPECS"]

SPECS = (
    ModelSpec(
        name="unlimited_ocr",
        architectures=("UnlimitedOcrForConditionalGeneration", "UnlimitedOCRForCausalLM"),
        hub_ids=same_ids("PaddlePaddle/Unlimited-OCR"),
        modalities=("text", "image"),
        lora_targets=LINEAR,
        towers=Towers(
            vision=("vision_tower",),
            aligner=("multi_modal_projector", "image_newline", "view_separator"),
        ),
        min_transformers="5.20.0",
        quant_groups=DENSE_GROUPS,
    ),
    ModelSpec(
        name="ernie4_5",
        architectures=("Ernie4_5ForCausalLM", "Ernie4_5_ForCausalLM"),
        hub_ids=(HubId("PaddlePaddle/ERNIE-4.5-0.3B-PT", "baidu/ERNIE-4.5-0.3B-PT"),),
        template="ernie",
        lora_targets=LINEAR,
        min_transformers="4.54.0",
        quant_groups=DENSE_GROUPS,
    ),
    ModelSpec(
        name="ernie4_5_moe",
        architectures=("Ernie4_5_MoeForCausalLM",),
        hub_ids=(
            HubId("PaddlePaddle/ERNIE-4.5-21B-A3B-Base-PT", "baidu/ERNIE-4.5-21B-A3B-Base-PT"),
            HubId("PaddlePaddle/ERNIE-4.5-21B-A3B-PT", "baidu/ERNIE-4.5-21B-A3B-PT"),
            HubId("PaddlePaddle/ERNIE-4.5-300B-A47B-Base-PT", "baidu/ERNIE-4.5-300B-A47B-Base-PT"),
            HubId("PaddlePaddle/ERNIE-4.5-300B-A47B-PT", "baidu/ERNIE-4.5-300B-A47B-PT"),
        ),
        template="ernie",
        lora_targets=LINEAR,
        min_transformers="4.54.0",
        capabilities=("base", "chat"),
        quant_groups=DENSE_GROUPS,
    ),
    ModelSpec(
        name="ernie4_5_moe_thinking",
        architectures=("Ernie4_5_MoeForCausalLM",),
        hub_ids=(
            HubId("PaddlePaddle/ERNIE-4.5-21B-A3B-Thinking", "baidu/ERNIE-4.5-21B-A3B-Thinking"),
        ),
        stop_tokens=("<|im_end|>",),
        lora_targets=LINEAR,
        min_transformers="4.54.0",
        markers=Markers(names=("a3b-thinking",)),
        tool_syntax="hermes",
        reasoning="think",
        capabilities=("chat", "tools", "reasoning"),
        quant_groups=DENSE_GROUPS,
    ),
    ModelSpec(
        name="ernie4_5_vl_moe",
        architectures=("Ernie4_5_VLMoeForConditionalGeneration",),
        hub_ids=(
            HubId("PaddlePaddle/ERNIE-4.5-VL-28B-A3B-PT", "baidu/ERNIE-4.5-VL-28B-A3B-PT"),
            HubId("PaddlePaddle/ERNIE-4.5-VL-424B-A47B-PT", "baidu/ERNIE-4.5-VL-424B-A47B-PT"),
            HubId(
                "PaddlePaddle/ERNIE-4.5-VL-28B-A3B-Base-PT", "baidu/ERNIE-4.5-VL-28B-A3B-Base-PT"
            ),
            HubId(
                "PaddlePaddle/ERNIE-4.5-VL-424B-A47B-Base-PT",
                "baidu/ERNIE-4.5-VL-424B-A47B-Base-PT",
            ),
            HubId(
                "PaddlePaddle/ERNIE-4.5-VL-28B-A3B-Thinking", "baidu/ERNIE-4.5-VL-28B-A3B-Thinking"
            ),
        ),
        modalities=("text", "image", "video"),
        lora_targets=LINEAR,
        towers=Towers(vision=("vision_tower",), aligner=("resampler_model",)),
        min_transformers="5.3.0",
        capabilities=("base", "chat", "tools", "reasoning"),
        quant_groups=DENSE_GROUPS,
    ),
    ModelSpec(
        name="paddleocr_vl",
        architectures=("PaddleOCRVLForConditionalGeneration",),
        hub_ids=same_ids(
            "PaddlePaddle/PaddleOCR-VL-1.5",
            "PaddlePaddle/PaddleOCR-VL-1.6",
            "PaddlePaddle/PaddleOCR-VL",
        ),
        modalities=("text", "image"),
        lora_targets=LINEAR,
        towers=Towers(vision=("visual",), aligner=("projector",)),
        quant_groups=DENSE_GROUPS,
    ),
    ModelSpec(
        name="qianfan_ocr",
        architectures=("QianfanOCRForConditionalGeneration",),
        hub_ids=(HubId("baidu-qianfan/Qianfan-OCR", "baidu/Qianfan-OCR"),),
        modalities=("text", "image"),
        stop_tokens=("<|im_end|>",),
        lora_targets=LINEAR,
        towers=Towers(vision=("vision_tower",), aligner=("multi_modal_projector",)),
        min_transformers="5.6.0",
        quant_groups=DENSE_GROUPS,
    ),
    ModelSpec(
        name="pp_formulanet",
        architectures=("PPFormulaNetForConditionalGeneration",),
        hub_ids=only_huggingface(
            "PaddlePaddle/PP-FormulaNet-L_safetensors",
            "PaddlePaddle/PP-FormulaNet_plus-L_safetensors",
        ),
        modalities=("text", "image"),
        lora_targets=FAIRSEQ,
        towers=Towers(vision=("encoder",), aligner=("encoder.multi_modal_projector",)),
        min_transformers="5.8.0",
        quant_groups=FAIRSEQ_GROUPS,
    ),
)
