"""Ant Group's Ling and Ring models."""

from __future__ import annotations

from swiftrl.models.spec import ModelSpec, same_ids

__all__ = ["SPECS"]

SPECS = (
    ModelSpec(
        name="bailing_hybrid",
        architectures=("BailingHybridForCausalLM",),
        hub_ids=same_ids("inclusionAI/Ling-3.0-flash"),
        lora_targets=(
            "q_proj",
            "k_proj",
            "v_proj",
            "f_proj",
            "b_proj",
            "o_proj",
            "g_proj",
            "gate_proj",
            "up_proj",
            "down_proj",
            "kv_a_proj_with_mqa",
            "kv_b_proj",
        ),
        min_transformers="5.20.0",
        capabilities=("chat", "tools", "reasoning"),
    ),
    ModelSpec(
        name="ling",
        architectures=("BailingMoeForCausalLM",),
        hub_ids=same_ids(
            "inclusionAI/Ling-lite-1.5",
            "inclusionAI/Ling-lite",
            "inclusionAI/Ling-plus",
            "inclusionAI/Ling-lite-base",
            "inclusionAI/Ling-plus-base",
        ),
        template="ling",
        capabilities=("base", "chat"),
    ),
    ModelSpec(
        name="bailing_moe_v2",
        architectures=("BailingMoeV2ForCausalLM",),
        hub_ids=same_ids(
            "inclusionAI/Ling-mini-2.0",
            "inclusionAI/Ling-mini-base-2.0",
            "inclusionAI/Ling-1T",
            "inclusionAI/Ring-mini-2.0",
        ),
        tool_syntax="hermes",
        capabilities=("chat", "tools", "reasoning"),
    ),
    ModelSpec(
        name="bailing_moe_v2_5",
        architectures=("BailingMoeV2_5ForCausalLM", "BailingMoeV3ForCausalLM"),
        hub_ids=same_ids(
            "inclusionAI/Ling-2.5-1T",
            "inclusionAI/Ling-2.6-1T",
            "inclusionAI/Ling-2.6-flash",
            "inclusionAI/Ling-3.0-tiny",
            "inclusionAI/Ring-2.5-1T",
            "inclusionAI/Ring-2.6-1T",
        ),
        capabilities=("chat", "tools", "reasoning"),
    ),
)
