"""ByteDance's Seed models."""

from __future__ import annotations

from swiftrl.models.layer_names import DENSE_GROUPS, LINEAR
from swiftrl.models.spec import Markers, ModelSpec, Towers, same_ids

__all__ = ["SPECS"]

SPECS = (
    ModelSpec(
        name="seed_oss",
        architectures=("SeedOssForCausalLM",),
        hub_ids=same_ids(
            "ByteDance-Seed/Seed-OSS-36B-Instruct",
            "ByteDance-Seed/Seed-OSS-36B-Base",
            "ByteDance-Seed/Seed-OSS-36B-Base-woSyn",
        ),
        template="seed_oss",
        stop_tokens=("<seed:eos>",),
        lora_targets=LINEAR,
        min_transformers="4.56.0",
        tool_syntax="seed_oss",
        reasoning="seed",
        capabilities=("base", "chat", "tools", "reasoning"),
        quant_groups=DENSE_GROUPS,
    ),
    ModelSpec(
        name="ui_tars",
        architectures=("Qwen2VLForConditionalGeneration",),
        hub_ids=same_ids(
            "bytedance-research/UI-TARS-2B-SFT",
            "bytedance-research/UI-TARS-7B-SFT",
            "bytedance-research/UI-TARS-7B-DPO",
            "bytedance-research/UI-TARS-72B-SFT",
            "bytedance-research/UI-TARS-72B-DPO",
        ),
        modalities=("text", "image", "video"),
        stop_tokens=("<|im_end|>",),
        lora_targets=LINEAR,
        towers=Towers(vision=("visual",), aligner=("visual.merger",)),
        min_transformers="4.45.0",
        markers=Markers(names=("ui-tars",)),
        quant_groups=DENSE_GROUPS,
    ),
)
