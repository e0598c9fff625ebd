"""IBM's Granite models."""

from __future__ import annotations

from swiftrl.models.layer_names import ATTENTION, ATTENTION_GROUPS, DENSE_GROUPS, LINEAR
from swiftrl.models.spec import HubId, Markers, ModelSpec, Towers, only_huggingface, same_ids

__all__ = ["SPECS"]

SPECS = (
    ModelSpec(
        name="granite_vision",
        architectures=("LlavaNextForConditionalGeneration",),
        hub_ids=(
            *only_huggingface("ibm-granite/granite-vision-3.3-2b"),
            HubId("AI-ModelScope/granite-vision-3.2-2b", "ibm-granite/granite-vision-3.2-2b"),
        ),
        modalities=("text", "image"),
        lora_targets=LINEAR,
        towers=Towers(vision=("vision_tower",), aligner=("multi_modal_projector", "image_newline")),
        min_transformers="4.39.0",
        markers=Markers(names=("granite-vision",)),
        quant_groups=DENSE_GROUPS,
    ),
    ModelSpec(
        name="granite",
        architectures=("GraniteForCausalLM",),
        hub_ids=(
            *only_huggingface("ibm/PowerLM-3b"),
            HubId("AI-ModelScope/granite-3.0-2b-base", "ibm-granite/granite-3.0-2b-base"),
            HubId("AI-ModelScope/granite-3.0-8b-base", "ibm-granite/granite-3.0-8b-base"),
            HubId("AI-ModelScope/granite-3.0-2b-instruct", "ibm-granite/granite-3.0-2b-instruct"),
            HubId("AI-ModelScope/granite-3.0-8b-instruct", "ibm-granite/granite-3.0-8b-instruct"),
            HubId("AI-ModelScope/granite-3.1-2b-base", "ibm-granite/granite-3.1-2b-base"),
            HubId("AI-ModelScope/granite-3.1-8b-base", "ibm-granite/granite-3.1-8b-base"),
            HubId("AI-ModelScope/granite-3.1-2b-instruct", "ibm-granite/granite-3.1-2b-instruct"),
            HubId("AI-ModelScope/granite-3.1-8b-instruct", "ibm-granite/granite-3.1-8b-instruct"),
            HubId("AI-ModelScope/granite-3.2-2b-instruct", "ibm-granite/granite-3.2-2b-instruct"),
            HubId("AI-ModelScope/granite-3.2-8b-instruct", "ibm-granite/granite-3.2-8b-instruct"),
            HubId("AI-ModelScope/granite-3.3-2b-base", "ibm-granite/granite-3.3-2b-base"),
            HubId("AI-ModelScope/granite-3.3-8b-base", "ibm-granite/granite-3.3-8b-base"),
            HubId("AI-ModelScope/granite-3.3-2b-instruct", "ibm-granite/granite-3.3-2b-instruct"),
            HubId("AI-ModelScope/granite-3.3-8b-instruct", "ibm-granite/granite-3.3-8b-instruct"),
        ),
        template="granite",
        lora_targets=LINEAR,
        min_transformers="4.45.0",
        tool_syntax="granite",
        capabilities=("base", "chat", "tools"),
        quant_groups=DENSE_GROUPS,
    ),
    ModelSpec(
        name="granitemoe",
        architectures=("GraniteMoeForCausalLM",),
        hub_ids=(
            *only_huggingface("ibm/PowerMoE-3b"),
            HubId(
                "AI-ModelScope/granite-3.0-1b-a400m-base", "ibm-granite/granite-3.0-1b-a400m-base"
            ),
            HubId(
                "AI-ModelScope/granite-3.0-3b-a800m-base", "ibm-granite/granite-3.0-3b-a800m-base"
            ),
            HubId(
                "AI-ModelScope/granite-3.0-1b-a400m-instruct",
                "ibm-granite/granite-3.0-1b-a400m-instruct",
            ),
            HubId(
                "AI-ModelScope/granite-3.0-3b-a800m-instruct",
                "ibm-granite/granite-3.0-3b-a800m-instruct",
            ),
            HubId(
                "AI-ModelScope/granite-3.1-1b-a400m-base", "ibm-granite/granite-3.1-1b-a400m-base"
            ),
            HubId(
                "AI-ModelScope/granite-3.1-3b-a800m-base", "ibm-granite/granite-3.1-3b-a800m-base"
            ),
            HubId(
                "AI-ModelScope/granite-3.1-1b-a400m-instruct",
                "ibm-granite/granite-3.1-1b-a400m-instruct",
            ),
            HubId(
                "AI-ModelScope/granite-3.1-3b-a800m-instruct",
                "ibm-granite/granite-3.1-3b-a800m-instruct",
            ),
        ),
        template="granite",
        lora_targets=ATTENTION,
        min_transformers="4.45.0",
        tool_syntax="granite",
        capabilities=("base", "chat", "tools"),
        quant_groups=ATTENTION_GROUPS,
    ),
    ModelSpec(
        name="granitemoeshared",
        architectures=("GraniteMoeSharedForCausalLM",),
        hub_ids=only_huggingface("ibm-research/moe-7b-1b-active-shared-experts"),
        template="granite",
        lora_targets=ATTENTION,
        capabilities=("base",),
        quant_groups=ATTENTION_GROUPS,
    ),
    ModelSpec(
        name="granitemoehybrid",
        architectures=("GraniteMoeHybridForCausalLM",),
        hub_ids=(
            *same_ids("ibm-granite/granite-4.0-tiny-preview"),
            *only_huggingface(
                "ibm-granite/granite-4.0-h-tiny",
                "ibm-granite/granite-4.0-h-small",
                "ibm-granite/granite-4.0-h-micro",
                "ibm-granite/granite-4.0-micro",
            ),
        ),
        lora_targets=(
            "q_proj",
            "k_proj",
            "v_proj",
            "o_proj",
            "in_proj",
            "out_proj",
            "input_linear",
            "output_linear",
        ),
        tool_syntax="hermes",
        capabilities=("chat", "tools"),
    ),
    ModelSpec(
        name="granite_swa",
        architectures=("GraniteSWAForCausalLM",),
        hub_ids=only_huggingface("ibm-granite/granite-swash-2b"),
        lora_targets=LINEAR,
        min_transformers="5.15.0",
        capabilities=("base",),
        quant_groups=DENSE_GROUPS,
    ),
    ModelSpec(
        name="granitemoe_swa",
        architectures=("GraniteMoeSWAForCausalLM",),
        hub_ids=only_huggingface("ibm-granite/granite-swash-3b-a600m"),
        lora_targets=ATTENTION,
        min_transformers="5.15.0",
        capabilities=("base",),
        quant_groups=ATTENTION_GROUPS,
    ),
    ModelSpec(
        name="bamba",
        architectures=("BambaForCausalLM",),
        hub_ids=only_huggingface("ibm-fms/Bamba-9.8b-2.2T-hf", "ibm-ai-platform/Bamba-9B-v1"),
        lora_targets=(
            "q_proj",
            "k_proj",
            "v_proj",
            "o_proj",
            "in_proj",
            "out_proj",
            "gate_proj",
            "up_proj",
            "down_proj",
        ),
        capabilities=("base",),
    ),
    ModelSpec(
        name="granite4_vision",
        architectures=("Granite4VisionForConditionalGeneration",),
        hub_ids=only_huggingface("ibm-granite/granite-4.1-3b-vision"),
        modalities=("text", "image"),
        lora_targets=LINEAR,
        towers=Towers(
            vision=("vision_tower",),
            aligner=("layerwise_projectors", "spatial_projectors", "image_newline"),
        ),
        min_transformers="5.8.0",
        quant_groups=DENSE_GROUPS,
    ),
    ModelSpec(
        name="granite_docling",
        architectures=("GraniteDoclingForConditionalGeneration",),
        hub_ids=only_huggingface("ibm-granite/granite-for-docling-500m"),
        modalities=("text", "image"),
        lora_targets=LINEAR,
        towers=Towers(vision=("vision_model",), aligner=("vision_model.connector",)),
        min_transformers="5.23.0",
        quant_groups=DENSE_GROUPS,
    ),
    ModelSpec(
        name="granite_speech",
        architectures=("GraniteSpeechForConditionalGeneration",),
        hub_ids=(
            *only_huggingface(
                "ibm-granite/granite-speech-3.3-2b",
                "ibm-granite/granite-speech-3.2-8b",
                "ibm-granite/granite-4.0-1b-speech",
            ),
            *same_ids("ibm-granite/granite-speech-3.3-8b"),
        ),
        modalities=("text", "audio"),
        lora_targets=LINEAR,
        towers=Towers(vision=("model.encoder",), aligner=("projector",)),
        quant_groups=DENSE_GROUPS,
    ),
    ModelSpec(
        name="granite_speech_plus",
        architectures=("GraniteSpeechPlusForConditionalGeneration",),
        hub_ids=same_ids("ibm-granite/granite-speech-4.1-2b-plus"),
        modalities=("text", "audio"),
        lora_targets=LINEAR,
        towers=Towers(vision=("model.encoder",), aligner=("projector",)),
        min_transformers="5.8.0",
        quant_groups=DENSE_GROUPS,
    ),
)
