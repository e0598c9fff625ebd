"""Hugging Face's SmolLM, SmolVLM and Idefics."""

from __future__ import annotations

from swiftrl.models.layer_names import DENSE_GROUPS, LINEAR
from swiftrl.models.spec import HubId, ModelSpec, Towers, only_huggingface, same_ids

__all__ = ["SPECS"]

SPECS = (
    ModelSpec(
        name="smollm3",
        architectures=("SmolLM3ForCausalLM",),
        hub_ids=same_ids("HuggingFaceTB/SmolLM3-3B"),
        stop_tokens=("<|im_end|>",),
        lora_targets=LINEAR,
        min_transformers="4.53.0",
        tool_syntax="hermes",
        reasoning="think",
        capabilities=("chat", "tools", "reasoning"),
        quant_groups=DENSE_GROUPS,
    ),
    ModelSpec(
        name="smolvlm",
        architectures=("SmolVLMForConditionalGeneration",),
        hub_ids=(
            *only_huggingface(
                "HuggingFaceTB/SmolVLM2-256M-Video-Instruct", "HuggingFaceTB/SmolVLM2-2.2B-Instruct"
            ),
            *same_ids("HuggingFaceTB/SmolVLM2-500M-Video-Instruct"),
        ),
        modalities=("text", "image", "video"),
        stop_tokens=("<end_of_utterance>",),
        lora_targets=LINEAR,
        towers=Towers(vision=("vision_model",), aligner=("connector",)),
        requires=("num2words",),
        min_transformers="4.50.0",
        quant_groups=DENSE_GROUPS,
    ),
    ModelSpec(
        name="idefics3",
        architectures=("Idefics3ForConditionalGeneration",),
        hub_ids=(
            HubId("AI-ModelScope/Idefics3-8B-Llama3", "HuggingFaceM4/Idefics3-8B-Llama3"),
            *only_huggingface(
                "HuggingFaceTB/SmolVLM-256M-Instruct",
                "HuggingFaceTB/SmolVLM-500M-Instruct",
                "HuggingFaceTB/SmolVLM-Instruct",
            ),
        ),
        modalities=("text", "image"),
        stop_tokens=("<end_of_utterance>",),
        lora_targets=LINEAR,
        towers=Towers(vision=("vision_model",), aligner=("connector",)),
        min_transformers="4.46.0",
        quant_groups=DENSE_GROUPS,
    ),
    ModelSpec(
        name="idefics2",
        architectures=("Idefics2ForConditionalGeneration",),
        hub_ids=only_huggingface(
            "HuggingFaceM4/idefics2-8b",
            "HuggingFaceM4/idefics2-8b-base",
            "HuggingFaceM4/idefics2-8b-chatty",
        ),
        modalities=("text", "image"),
        stop_tokens=("<end_of_utterance>",),
        lora_targets=LINEAR,
        towers=Towers(vision=("vision_model",), aligner=("connector",)),
        min_transformers="4.40.0",
        capabilities=("base", "chat"),
        quant_groups=DENSE_GROUPS,
    ),
    ModelSpec(
        name="idefics",
        architectures=("IdeficsForVisionText2Text",),
        hub_ids=only_huggingface(
            "HuggingFaceM4/idefics-9b",
            "HuggingFaceM4/idefics-9b-instruct",
            "HuggingFaceM4/idefics-80b-instruct",
        ),
        modalities=("text", "image"),
        lora_targets=LINEAR,
        towers=Towers(vision=("vision_model",), aligner=("perceiver_resampler",)),
        min_transformers="4.32.0",
        capabilities=("base",),
        quant_groups=DENSE_GROUPS,
    ),
)
