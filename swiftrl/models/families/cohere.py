"""Cohere's Command and Aya models."""

from __future__ import annotations

from swiftrl.models.layer_names import ATTENTION, ATTENTION_GROUPS, DENSE_GROUPS, LINEAR
from swiftrl.models.spec import HubId, ModelSpec, Towers, only_huggingface, same_ids

__all__ = ["SPECS"]

SPECS = (
    ModelSpec(
        name="cohere",
        architectures=("CohereForCausalLM",),
        hub_ids=(
            *only_huggingface("CohereForAI/c4ai-command-r-plus-4bit"),
            HubId("mirror013/c4ai-command-r-v01-4bit", "CohereForAI/c4ai-command-r-v01-4bit"),
            HubId("AI-ModelScope/c4ai-command-r-v01", "CohereForAI/c4ai-command-r-v01"),
            HubId("AI-ModelScope/c4ai-command-r-plus", "CohereForAI/c4ai-command-r-plus"),
            HubId("AI-ModelScope/aya-expanse-8b", "CohereForAI/aya-expanse-8b"),
            HubId("AI-ModelScope/aya-expanse-32b", "CohereForAI/aya-expanse-32b"),
        ),
        template="cohere",
        stop_tokens=("<|END_OF_TURN_TOKEN|>",),
        lora_targets=LINEAR,
        min_transformers="4.39.0",
        tool_syntax="command_r",
        capabilities=("chat", "tools"),
        quant_groups=DENSE_GROUPS,
    ),
    ModelSpec(
        name="cohere2",
        architectures=("Cohere2ForCausalLM",),
        hub_ids=only_huggingface(
            "CohereLabs/c4ai-command-r7b-12-2024",
            "CohereLabs/c4ai-command-a-03-2025",
            "CohereLabs/command-a-reasoning-08-2025",
        ),
        template="cohere",
        stop_tokens=("<|END_OF_TURN_TOKEN|>",),
        lora_targets=LINEAR,
        min_transformers="4.48.0",
        tool_syntax="cohere",
        reasoning="cohere",
        capabilities=("chat", "tools", "reasoning"),
        quant_groups=DENSE_GROUPS,
    ),
    ModelSpec(
        name="cohere2_moe",
        architectures=("Cohere2MoeForCausalLM",),
        hub_ids=only_huggingface("CohereLabs/North-Mini-Code-1.0"),
        stop_tokens=("<|END_OF_TURN_TOKEN|>",),
        lora_targets=ATTENTION,
        min_transformers="5.9.0",
        capabilities=("chat", "tools"),
        quant_groups=ATTENTION_GROUPS,
    ),
    ModelSpec(
        name="aya_vision",
        architectures=("AyaVisionForConditionalGeneration",),
        hub_ids=only_huggingface("CohereForAI/aya-vision-8b"),
        modalities=("text", "image"),
        stop_tokens=("<|END_OF_TURN_TOKEN|>",),
        lora_targets=LINEAR,
        towers=Towers(vision=("vision_tower",), aligner=("multi_modal_projector",)),
        min_transformers="4.50.0",
        quant_groups=DENSE_GROUPS,
    ),
    ModelSpec(
        name="cohere2_vision",
        architectures=("Cohere2VisionForConditionalGeneration",),
        hub_ids=only_huggingface(
            "CohereLabs/command-a-vision-07-2025", "CohereLabs/command-a-plus-05-2026"
        ),
        modalities=("text", "image"),
        stop_tokens=("<|END_OF_TURN_TOKEN|>",),
        lora_targets=LINEAR,
        towers=Towers(vision=("vision_tower",), aligner=("multi_modal_projector",)),
        min_transformers="4.55.0",
        quant_groups=DENSE_GROUPS,
    ),
    ModelSpec(
        name="cohere_compass",
        architectures=("CohereCompassForConditionalGeneration",),
        hub_ids=only_huggingface("CohereLabs/North-Micro-Vision-Instruct"),
        modalities=("text", "image"),
        stop_tokens=("<|END_OF_TURN_TOKEN|>",),
        lora_targets=LINEAR,
        towers=Towers(
            vision=("visual",), aligner=("visual.merger", "visual.deepstack_merger_list")
        ),
        min_transformers="5.16.0",
        quant_groups=DENSE_GROUPS,
    ),
    ModelSpec(
        name="cohere_compass_text",
        architectures=("CohereCompassForCausalLM",),
        stop_tokens=("<|END_OF_TURN_TOKEN|>",),
        lora_targets=LINEAR,
        min_transformers="5.16.0",
        quant_groups=DENSE_GROUPS,
    ),
    ModelSpec(
        name="cohere_asr",
        architectures=("CohereAsrForConditionalGeneration",),
        hub_ids=same_ids("CohereLabs/cohere-transcribe-03-2026"),
        modalities=("text", "audio"),
        lora_targets=("q_proj", "k_proj", "v_proj", "o_proj", "fc1", "fc2", "proj"),
        towers=Towers(vision=("model.encoder",)),
        min_transformers="5.4.0",
        capabilities=("base",),
    ),
)
