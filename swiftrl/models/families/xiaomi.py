"""Xiaomi's MiMo models."""

from __future__ import annotations

from swiftrl.models.layer_names import DENSE_GROUPS, LINEAR
from swiftrl.models.spec import Markers, ModelSpec, Towers, same_ids

__all__ = ["SPECS"]

SPECS = (
    ModelSpec(
        name="mimo_vl",
        architectures=("Qwen2_5_VLForConditionalGeneration",),
        hub_ids=same_ids("XiaomiMiMo/MiMo-VL-7B-SFT", "XiaomiMiMo/MiMo-VL-7B-RL"),
        modalities=("text", "image", "video"),
        stop_tokens=("<|im_end|>",),
        lora_targets=LINEAR,
        towers=Towers(vision=("visual",), aligner=("visual.merger",)),
        min_transformers="4.49.0",
        markers=Markers(names=("mimo-vl",)),
        reasoning="think",
        capabilities=("chat", "reasoning"),
        quant_groups=DENSE_GROUPS,
    ),
    ModelSpec(
        name="mimo_v2_flash",
        architectures=("MiMoV2FlashForCausalLM",),
        hub_ids=same_ids("XiaomiMiMo/MiMo-V2-Flash", "XiaomiMiMo/MiMo-V2-Flash-Base"),
        stop_tokens=("<|im_end|>",),
        lora_targets=LINEAR,
        min_transformers="5.13.0",
        reasoning="think",
        capabilities=("chat", "tools", "reasoning"),
        quant_groups=DENSE_GROUPS,
    ),
    ModelSpec(
        name="mimo",
        architectures=("MiMoForCausalLM",),
        hub_ids=same_ids(
            "XiaomiMiMo/MiMo-7B-Base",
            "XiaomiMiMo/MiMo-7B-SFT",
            "XiaomiMiMo/MiMo-7B-RL-Zero",
            "XiaomiMiMo/MiMo-7B-RL",
            "XiaomiMiMo/MiMo-7B-RL-0530",
        ),
        template="chatml",
        stop_tokens=("<|im_end|>",),
        reasoning="think",
        capabilities=("base", "chat", "reasoning"),
    ),
    ModelSpec(
        name="mimo_v2",
        architectures=("MiMoV2ForCausalLM",),
        hub_ids=same_ids("XiaomiMiMo/MiMo-V2.5"),
        modalities=("text", "image", "video", "audio"),
        stop_tokens=("<|im_end|>",),
        reasoning="think",
        capabilities=("chat", "tools", "reasoning"),
    ),
)
