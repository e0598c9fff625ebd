"""Text models of Alibaba's other teams."""

from __future__ import annotations

from swiftrl.models.layer_names import DENSE_GROUPS, LINEAR
from swiftrl.models.spec import HubId, Markers, ModelSpec, same_ids

__all__ = ["SPECS"]

SPECS = (
    ModelSpec(
        name="marco_o1",
        architectures=("Qwen2ForCausalLM",),
        hub_ids=same_ids("AIDC-AI/Marco-o1"),
        stop_tokens=("<|im_end|>",),
        lora_targets=LINEAR,
        min_transformers="4.37.0",
        markers=Markers(names=("marco-o1",)),
        capabilities=("chat", "reasoning"),
        quant_groups=DENSE_GROUPS,
    ),
    ModelSpec(
        name="gte_qwen2",
        architectures=("Qwen2ForCausalLM",),
        hub_ids=(
            HubId("iic/gte_Qwen2-1.5B-instruct", "Alibaba-NLP/gte-Qwen2-1.5B-instruct"),
            HubId("iic/gte_Qwen2-7B-instruct", "Alibaba-NLP/gte-Qwen2-7B-instruct"),
        ),
        stop_tokens=("<|im_end|>",),
        lora_targets=LINEAR,
        min_transformers="4.37.0",
        markers=Markers(names=("gte-qwen2", "gte_qwen2")),
        capabilities=("embedding",),
        quant_groups=DENSE_GROUPS,
    ),
)
