"""LG AI Research's EXAONE models."""

from __future__ import annotations

from swiftrl.models.layer_names import DENSE_GROUPS, LINEAR
from swiftrl.models.spec import ModelSpec, Towers, only_huggingface, same_ids

__all__ = ["SPECS"]

SPECS = (
    ModelSpec(
        name="exaone4",
        architectures=("Exaone4ForCausalLM",),
        hub_ids=only_huggingface("LGAI-EXAONE/EXAONE-4.0-32B", "LGAI-EXAONE/EXAONE-4.0-1.2B"),
        stop_tokens=("[|endofturn|]",),
        lora_targets=LINEAR,
        min_transformers="4.54.0",
        tool_syntax="hermes",
        reasoning="think",
        capabilities=("chat", "tools", "reasoning"),
        quant_groups=DENSE_GROUPS,
    ),
    ModelSpec(
        name="exaone_moe",
        architectures=("ExaoneMoeForCausalLM",),
        hub_ids=only_huggingface(
            "LGAI-EXAONE/K-EXAONE-236B-A23B", "LGAI-EXAONE/K-EXAONE-2.0-750B-A37B"
        ),
        stop_tokens=("<|endofturn|>",),
        lora_targets=LINEAR,
        min_transformers="5.1.0",
        tool_syntax="hermes",
        reasoning="think",
        capabilities=("chat", "tools", "reasoning"),
        quant_groups=DENSE_GROUPS,
    ),
    ModelSpec(
        name="exaone4_5",
        architectures=("Exaone4_5_ForConditionalGeneration",),
        hub_ids=same_ids("LGAI-EXAONE/EXAONE-4.5-33B"),
        modalities=("text", "image"),
        lora_targets=LINEAR,
        towers=Towers(vision=("visual",), aligner=("visual.merger",)),
        min_transformers="5.8.0",
        tool_syntax="hermes",
        reasoning="think",
        capabilities=("chat", "tools", "reasoning"),
        quant_groups=DENSE_GROUPS,
    ),
    ModelSpec(
        name="exaone",
        architectures=("ExaoneForCausalLM",),
        hub_ids=(
            *only_huggingface(
                "LGAI-EXAONE/EXAONE-3.0-7.8B-Instruct",
                "LGAI-EXAONE/EXAONE-3.5-2.4B-Instruct",
                "LGAI-EXAONE/EXAONE-3.5-32B-Instruct",
            ),
            *same_ids("LGAI-EXAONE/EXAONE-3.5-7.8B-Instruct"),
        ),
        template="exaone",
        stop_tokens=("[|endofturn|]",),
    ),
)
