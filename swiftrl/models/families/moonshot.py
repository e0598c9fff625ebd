"""Moonshot AI's models in DeepSeek's architecture."""

from __future__ import annotations

from swiftrl.models.layer_names import LATENT, LATENT_GROUPS
from swiftrl.models.spec import Markers, ModelSpec, same_ids

__all__ = ["SPECS"]

SPECS = (
    ModelSpec(
        name="moonlight",
        architectures=("DeepseekV3ForCausalLM",),
        hub_ids=same_ids("moonshotai/Moonlight-16B-A3B", "moonshotai/Moonlight-16B-A3B-Instruct"),
        template="kimi",
        stop_tokens=("<|im_end|>",),
        lora_targets=LATENT,
        min_transformers="4.51.0",
        markers=Markers(names=("moonlight",)),
        capabilities=("base", "chat"),
        quant_groups=LATENT_GROUPS,
    ),
    ModelSpec(
        name="kimi_k2",
        architectures=("DeepseekV3ForCausalLM",),
        hub_ids=same_ids(
            "moonshotai/Kimi-K2-Base",
            "moonshotai/Kimi-K2-Instruct",
            "moonshotai/Kimi-K2-Instruct-0905",
            "moonshotai/Kimi-K2-Thinking",
        ),
        template="kimi",
        stop_tokens=("<|im_end|>",),
        lora_targets=LATENT,
        min_transformers="4.51.0",
        markers=Markers(tokens=("<|tool_calls_section_begin|>",)),
        tool_syntax="kimi_k2",
        reasoning="think",
        capabilities=("base", "chat", "tools", "reasoning"),
        quant_groups=LATENT_GROUPS,
    ),
)
