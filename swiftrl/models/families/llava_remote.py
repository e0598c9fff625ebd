"""LLaVA models whose code is not in transformers: known by name, not loadable without it."""

from __future__ import annotations

from swiftrl.models.spec import HubId, Markers, ModelSpec, same_ids

__all__ = ["SPECS"]

SPECS = (
    ModelSpec(
        name="llama3_llava_next",
        architectures=("LlavaLlamaForCausalLM",),
        hub_ids=(HubId("AI-ModelScope/llama3-llava-next-8b", "lmms-lab/llama3-llava-next-8b"),),
        modalities=("text", "image"),
    ),
    ModelSpec(
        name="llava1_6_mistral",
        architectures=("LlavaMistralForCausalLM",),
        hub_ids=(HubId("AI-ModelScope/llava-v1.6-mistral-7b", "liuhaotian/llava-v1.6-mistral-7b"),),
        modalities=("text", "image"),
    ),
    ModelSpec(
        name="llava1_6_yi",
        architectures=("LlavaLlamaForCausalLM",),
        hub_ids=(HubId("AI-ModelScope/llava-v1.6-34b", "liuhaotian/llava-v1.6-34b"),),
        modalities=("text", "image"),
        markers=Markers(names=("v1.6-34b",)),
    ),
    ModelSpec(
        name="llava_next_qwen",
        architectures=("LlavaQwenForCausalLM",),
        hub_ids=(
            HubId("AI-ModelScope/llava-next-72b", "lmms-lab/llava-next-72b"),
            HubId("AI-ModelScope/llava-next-110b", "lmms-lab/llava-next-110b"),
        ),
        modalities=("text", "image"),
    ),
    ModelSpec(
        name="llava_onevision1_5",
        architectures=("LLaVAOneVision1_5_ForConditionalGeneration",),
        hub_ids=same_ids(
            "lmms-lab/LLaVA-OneVision-1.5-4B-Instruct",
            "lmms-lab/LLaVA-OneVision-1.5-8B-Instruct",
            "lmms-lab/LLaVA-OneVision-1.5-4B-Base",
            "lmms-lab/LLaVA-OneVision-1.5-8B-Base",
        ),
        modalities=("text", "image", "video"),
    ),
    ModelSpec(
        name="llava_onevision2",
        architectures=("LlavaOnevision2ForConditionalGeneration",),
        hub_ids=same_ids("lmms-lab/LLaVA-OneVision-2-8B-Instruct"),
        modalities=("text", "image", "video"),
    ),
    ModelSpec(
        name="valley",
        architectures=("ValleyQwen2ForCausalLM",),
        hub_ids=same_ids("bytedance-research/Valley-Eagle-7B"),
        modalities=("text", "image", "video"),
    ),
)
