"""Tencent's Hunyuan and Youtu models."""

from __future__ import annotations

from swiftrl.models.layer_names import DENSE_GROUPS, LATENT, LATENT_GROUPS, LINEAR
from swiftrl.models.spec import HubId, Markers, ModelSpec, Towers, same_ids

__all__ = ["SPECS"]

SPECS = (
    ModelSpec(
        name="wemm_embedding",
        architectures=("Qwen3_5ForConditionalGeneration",),
        hub_ids=(
            HubId("Tencent-Hunyuan/WeMM-Embedding-2B", "tencent/WeMM-Embedding-2B"),
            HubId("Tencent-Hunyuan/WeMM-Embedding-4B", "tencent/WeMM-Embedding-4B"),
            HubId("Tencent-Hunyuan/WeMM-Embedding-9B", "tencent/WeMM-Embedding-9B"),
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
        towers=Towers(vision=("visual",), aligner=("visual.merger",)),
        min_transformers="5.2.0",
        markers=Markers(names=("wemm",)),
        capabilities=("embedding",),
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
        name="hunyuan_moe",
        architectures=("HunYuanMoEV1ForCausalLM",),
        hub_ids=(
            *same_ids("tencent/Hunyuan-A13B-Pretrain", "tencent/Hunyuan-A13B-Instruct-FP8"),
            HubId("Tencent-Hunyuan/Hunyuan-A13B-Instruct", "tencent/Hunyuan-A13B-Instruct"),
        ),
        lora_targets=LINEAR,
        tool_syntax="hunyuan",
        reasoning="think",
        capabilities=("base", "chat", "tools", "reasoning"),
        quant_groups=DENSE_GROUPS,
    ),
    ModelSpec(
        name="hunyuan_v1_dense",
        architectures=("HunYuanDenseV1ForCausalLM",),
        hub_ids=(
            HubId("Tencent-Hunyuan/Hunyuan-0.5B-Instruct", "tencent/Hunyuan-0.5B-Instruct"),
            HubId("Tencent-Hunyuan/Hunyuan-1.8B-Instruct", "tencent/Hunyuan-1.8B-Instruct"),
            HubId("Tencent-Hunyuan/Hunyuan-4B-Instruct", "tencent/Hunyuan-4B-Instruct"),
            HubId("Tencent-Hunyuan/Hunyuan-7B-Instruct", "tencent/Hunyuan-7B-Instruct"),
            HubId("Tencent-Hunyuan/Hunyuan-0.5B-Pretrain", "tencent/Hunyuan-0.5B-Pretrain"),
            HubId("Tencent-Hunyuan/Hunyuan-1.8B-Pretrain", "tencent/Hunyuan-1.8B-Pretrain"),
            HubId("Tencent-Hunyuan/Hunyuan-4B-Pretrain", "tencent/Hunyuan-4B-Pretrain"),
            HubId("Tencent-Hunyuan/Hunyuan-7B-Pretrain", "tencent/Hunyuan-7B-Pretrain"),
            HubId("Tencent-Hunyuan/Hunyuan-0.5B-Instruct-FP8", "tencent/Hunyuan-0.5B-Instruct-FP8"),
            HubId("Tencent-Hunyuan/Hunyuan-1.8B-Instruct-FP8", "tencent/Hunyuan-1.8B-Instruct-FP8"),
            HubId("Tencent-Hunyuan/Hunyuan-4B-Instruct-FP8", "tencent/Hunyuan-4B-Instruct-FP8"),
            HubId("Tencent-Hunyuan/Hunyuan-7B-Instruct-FP8", "tencent/Hunyuan-7B-Instruct-FP8"),
            HubId(
                "Tencent-Hunyuan/Hunyuan-0.5B-Instruct-AWQ-Int4",
                "tencent/Hunyuan-0.5B-Instruct-AWQ-Int4",
            ),
            HubId(
                "Tencent-Hunyuan/Hunyuan-1.8B-Instruct-AWQ-Int4",
                "tencent/Hunyuan-1.8B-Instruct-AWQ-Int4",
            ),
            HubId(
                "Tencent-Hunyuan/Hunyuan-4B-Instruct-AWQ-Int4",
                "tencent/Hunyuan-4B-Instruct-AWQ-Int4",
            ),
            HubId(
                "Tencent-Hunyuan/Hunyuan-7B-Instruct-AWQ-Int4",
                "tencent/Hunyuan-7B-Instruct-AWQ-Int4",
            ),
            HubId(
                "Tencent-Hunyuan/Hunyuan-0.5B-Instruct-GPTQ-Int4",
                "tencent/Hunyuan-0.5B-Instruct-GPTQ-Int4",
            ),
            HubId(
                "Tencent-Hunyuan/Hunyuan-1.8B-Instruct-GPTQ-Int4",
                "tencent/Hunyuan-1.8B-Instruct-GPTQ-Int4",
            ),
            HubId(
                "Tencent-Hunyuan/Hunyuan-4B-Instruct-GPTQ-Int4",
                "tencent/Hunyuan-4B-Instruct-GPTQ-Int4",
            ),
            HubId(
                "Tencent-Hunyuan/Hunyuan-7B-Instruct-GPTQ-Int4",
                "tencent/Hunyuan-7B-Instruct-GPTQ-Int4",
            ),
        ),
        lora_targets=LINEAR,
        tool_syntax="hunyuan",
        reasoning="think",
        capabilities=("base", "chat", "tools", "reasoning"),
        quant_groups=DENSE_GROUPS,
    ),
    ModelSpec(
        name="hy_v3",
        architectures=("HYV3ForCausalLM",),
        hub_ids=(
            HubId("Tencent-Hunyuan/Hy3-preview", "tencent/Hy3-preview"),
            HubId("Tencent-Hunyuan/Hy3-preview-Base", "tencent/Hy3-preview-Base"),
            HubId("Tencent-Hunyuan/Hy3", "tencent/Hy3"),
            HubId("Tencent-Hunyuan/Hy3-FP8", "tencent/Hy3-FP8"),
        ),
        lora_targets=LINEAR,
        min_transformers="5.6.0",
        reasoning="think",
        capabilities=("base", "chat", "tools", "reasoning"),
        quant_groups=DENSE_GROUPS,
    ),
    ModelSpec(
        name="hy_v4",
        architectures=("HYV4ForCausalLM",),
        hub_ids=same_ids("tencent/Hy4-preview"),
        lora_targets=LATENT,
        min_transformers="5.17.0",
        capabilities=("chat", "tools", "reasoning"),
        quant_groups=LATENT_GROUPS,
    ),
    ModelSpec(
        name="hy_v4_vl",
        architectures=("HYV4VLForConditionalGeneration",),
        hub_ids=same_ids("tencent/Hy4"),
        modalities=("text", "image"),
        lora_targets=LATENT,
        towers=Towers(vision=("model.vision_tower",)),
        min_transformers="5.24.0",
        capabilities=("chat", "tools", "reasoning"),
        quant_groups=LATENT_GROUPS,
    ),
    ModelSpec(
        name="hunyuan_vl",
        architectures=("HunYuanVLForConditionalGeneration",),
        hub_ids=(HubId("Tencent-Hunyuan/HunyuanOCR", "tencent/HunyuanOCR"),),
        modalities=("text", "image"),
        lora_targets=LINEAR,
        towers=Towers(vision=("vision_tower",), aligner=("vision_tower.patch_merger",)),
        min_transformers="5.13.0",
        quant_groups=DENSE_GROUPS,
    ),
    ModelSpec(
        name="youtu_llm",
        architectures=("YoutuForCausalLM",),
        hub_ids=(
            HubId("Tencent-YouTu-Research/Youtu-LLM-2B", "tencent/Youtu-LLM-2B"),
            HubId("Tencent-YouTu-Research/Youtu-LLM-2B-Base", "tencent/Youtu-LLM-2B-Base"),
        ),
        lora_targets=LATENT,
        min_transformers="5.1.0",
        reasoning="think",
        capabilities=("base", "chat", "tools", "reasoning"),
        quant_groups=LATENT_GROUPS,
    ),
)
