"""01.AI's Yi models."""

from __future__ import annotations

from swiftrl.models.layer_names import DENSE_GROUPS, LINEAR
from swiftrl.models.spec import HubId, Markers, ModelSpec

__all__ = ["SPECS"]

SPECS = (
    ModelSpec(
        name="yi",
        architectures=("LlamaForCausalLM",),
        hub_ids=(
            HubId("01ai/Yi-6B", "01-ai/Yi-6B"),
            HubId("01ai/Yi-6B-200K", "01-ai/Yi-6B-200K"),
            HubId("01ai/Yi-6B-Chat", "01-ai/Yi-6B-Chat"),
            HubId("01ai/Yi-6B-Chat-4bits", "01-ai/Yi-6B-Chat-4bits"),
            HubId("01ai/Yi-6B-Chat-8bits", "01-ai/Yi-6B-Chat-8bits"),
            HubId("01ai/Yi-9B", "01-ai/Yi-9B"),
            HubId("01ai/Yi-9B-200K", "01-ai/Yi-9B-200K"),
            HubId("01ai/Yi-34B", "01-ai/Yi-34B"),
            HubId("01ai/Yi-34B-200K", "01-ai/Yi-34B-200K"),
            HubId("01ai/Yi-34B-Chat", "01-ai/Yi-34B-Chat"),
            HubId("01ai/Yi-34B-Chat-4bits", "01-ai/Yi-34B-Chat-4bits"),
            HubId("01ai/Yi-34B-Chat-8bits", "01-ai/Yi-34B-Chat-8bits"),
            HubId("01ai/Yi-1.5-6B", "01-ai/Yi-1.5-6B"),
            HubId("01ai/Yi-1.5-6B-Chat", "01-ai/Yi-1.5-6B-Chat"),
            HubId("01ai/Yi-1.5-9B", "01-ai/Yi-1.5-9B"),
            HubId("01ai/Yi-1.5-9B-Chat", "01-ai/Yi-1.5-9B-Chat"),
            HubId("01ai/Yi-1.5-9B-Chat-16K", "01-ai/Yi-1.5-9B-Chat-16K"),
            HubId("01ai/Yi-1.5-34B", "01-ai/Yi-1.5-34B"),
            HubId("01ai/Yi-1.5-34B-Chat", "01-ai/Yi-1.5-34B-Chat"),
            HubId("01ai/Yi-1.5-34B-Chat-16K", "01-ai/Yi-1.5-34B-Chat-16K"),
            HubId("AI-ModelScope/Yi-1.5-6B-Chat-GPTQ", "modelscope/Yi-1.5-6B-Chat-GPTQ"),
            HubId("AI-ModelScope/Yi-1.5-6B-Chat-AWQ", "modelscope/Yi-1.5-6B-Chat-AWQ"),
            HubId("AI-ModelScope/Yi-1.5-9B-Chat-GPTQ", "modelscope/Yi-1.5-9B-Chat-GPTQ"),
            HubId("AI-ModelScope/Yi-1.5-9B-Chat-AWQ", "modelscope/Yi-1.5-9B-Chat-AWQ"),
            HubId("AI-ModelScope/Yi-1.5-34B-Chat-GPTQ", "modelscope/Yi-1.5-34B-Chat-GPTQ"),
            HubId("AI-ModelScope/Yi-1.5-34B-Chat-AWQ", "modelscope/Yi-1.5-34B-Chat-AWQ"),
            HubId("01ai/Yi-Coder-1.5B", "01-ai/Yi-Coder-1.5B"),
            HubId("01ai/Yi-Coder-9B", "01-ai/Yi-Coder-9B"),
            HubId("01ai/Yi-Coder-1.5B-Chat", "01-ai/Yi-Coder-1.5B-Chat"),
            HubId("01ai/Yi-Coder-9B-Chat", "01-ai/Yi-Coder-9B-Chat"),
        ),
        template="chatml",
        stop_tokens=("<|im_end|>",),
        lora_targets=LINEAR,
        min_transformers="4.28.0",
        markers=Markers(names=("yi-6b", "yi-9b", "yi-34b", "yi-1.5", "yi-coder")),
        capabilities=("base", "chat"),
        quant_groups=DENSE_GROUPS,
    ),
    ModelSpec(
        name="sus_chat",
        architectures=("LlamaForCausalLM",),
        hub_ids=(HubId("SUSTC/SUS-Chat-34B", "SUSTech/SUS-Chat-34B"),),
        template="sus",
        lora_targets=LINEAR,
        min_transformers="4.28.0",
        markers=Markers(names=("sus-chat",)),
        quant_groups=DENSE_GROUPS,
    ),
    ModelSpec(
        name="yi_vl",
        architectures=("LlavaLlamaForCausalLM",),
        hub_ids=(
            HubId("01ai/Yi-VL-6B", "01-ai/Yi-VL-6B"),
            HubId("01ai/Yi-VL-34B", "01-ai/Yi-VL-34B"),
        ),
        modalities=("text", "image"),
        markers=Markers(names=("yi-vl",)),
    ),
)
