"""Shanghai AI Laboratory's InternLM models and their relatives."""

from __future__ import annotations

from swiftrl.models.spec import HubId, ModelSpec

__all__ = ["SPECS"]

SPECS = (
    ModelSpec(
        name="internlm",
        architectures=("InternLMForCausalLM",),
        hub_ids=(
            HubId("Shanghai_AI_Laboratory/internlm-chat-7b-8k", "internlm/internlm-chat-7b-8k"),
            HubId("Shanghai_AI_Laboratory/internlm-chat-7b", "internlm/internlm-chat-7b"),
            HubId("Shanghai_AI_Laboratory/internlm-7b", "internlm/internlm-7b"),
            HubId("Shanghai_AI_Laboratory/internlm-20b", "internlm/internlm-20b"),
            HubId("Shanghai_AI_Laboratory/internlm-chat-20b", "internlm/internlm-chat-20b"),
        ),
        template="internlm",
        capabilities=("base", "chat"),
    ),
    ModelSpec(
        name="internlm2",
        architectures=("InternLM2ForCausalLM",),
        hub_ids=(
            HubId("Shanghai_AI_Laboratory/internlm2-chat-1_8b", "internlm/internlm2-chat-1_8b"),
            HubId("Shanghai_AI_Laboratory/internlm2-1_8b", "internlm/internlm2-1_8b"),
            HubId(
                "Shanghai_AI_Laboratory/internlm2-chat-1_8b-sft", "internlm/internlm2-chat-1_8b-sft"
            ),
            HubId("Shanghai_AI_Laboratory/internlm2-base-7b", "internlm/internlm2-base-7b"),
            HubId("Shanghai_AI_Laboratory/internlm2-7b", "internlm/internlm2-7b"),
            HubId("Shanghai_AI_Laboratory/internlm2-chat-7b", "internlm/internlm2-chat-7b"),
            HubId("Shanghai_AI_Laboratory/internlm2-chat-7b-sft", "internlm/internlm2-chat-7b-sft"),
            HubId("Shanghai_AI_Laboratory/internlm2-base-20b", "internlm/internlm2-base-20b"),
            HubId("Shanghai_AI_Laboratory/internlm2-20b", "internlm/internlm2-20b"),
            HubId("Shanghai_AI_Laboratory/internlm2-chat-20b", "internlm/internlm2-chat-20b"),
            HubId(
                "Shanghai_AI_Laboratory/internlm2-chat-20b-sft", "internlm/internlm2-chat-20b-sft"
            ),
            HubId("Shanghai_AI_Laboratory/internlm2-math-7b", "internlm/internlm2-math-7b"),
            HubId(
                "Shanghai_AI_Laboratory/internlm2-math-base-7b", "internlm/internlm2-math-base-7b"
            ),
            HubId(
                "Shanghai_AI_Laboratory/internlm2-math-base-20b", "internlm/internlm2-math-base-20b"
            ),
            HubId("Shanghai_AI_Laboratory/internlm2-math-20b", "internlm/internlm2-math-20b"),
            HubId("Shanghai_AI_Laboratory/internlm2_5-1_8b-chat", "internlm/internlm2_5-1_8b-chat"),
            HubId("Shanghai_AI_Laboratory/internlm2_5-1_8b", "internlm/internlm2_5-1_8b"),
            HubId("Shanghai_AI_Laboratory/internlm2_5-7b", "internlm/internlm2_5-7b"),
            HubId("Shanghai_AI_Laboratory/internlm2_5-7b-chat", "internlm/internlm2_5-7b-chat"),
            HubId(
                "Shanghai_AI_Laboratory/internlm2_5-7b-chat-1m", "internlm/internlm2_5-7b-chat-1m"
            ),
            HubId("Shanghai_AI_Laboratory/internlm2_5-20b", "internlm/internlm2_5-20b"),
            HubId("Shanghai_AI_Laboratory/internlm2_5-20b-chat", "internlm/internlm2_5-20b-chat"),
        ),
        template="chatml",
        stop_tokens=("<|im_end|>",),
        tool_syntax="internlm",
        capabilities=("base", "chat", "tools"),
    ),
    ModelSpec(
        name="internlm3",
        architectures=("InternLM3ForCausalLM",),
        hub_ids=(
            HubId("Shanghai_AI_Laboratory/internlm3-8b-instruct", "internlm/internlm3-8b-instruct"),
        ),
        stop_tokens=("<|im_end|>",),
    ),
    ModelSpec(
        name="internlm2_reward",
        architectures=("InternLM2ForRewardModel",),
        hub_ids=(
            HubId("Shanghai_AI_Laboratory/internlm2-1_8b-reward", "internlm/internlm2-1_8b-reward"),
            HubId("Shanghai_AI_Laboratory/internlm2-7b-reward", "internlm/internlm2-7b-reward"),
            HubId("Shanghai_AI_Laboratory/internlm2-20b-reward", "internlm/internlm2-20b-reward"),
        ),
        capabilities=("reward",),
    ),
    ModelSpec(
        name="xcomposer2",
        architectures=("InternLMXComposer2ForCausalLM",),
        hub_ids=(
            HubId(
                "Shanghai_AI_Laboratory/internlm-xcomposer2-7b", "internlm/internlm-xcomposer2-7b"
            ),
            HubId(
                "Shanghai_AI_Laboratory/internlm-xcomposer2-4khd-7b",
                "internlm/internlm-xcomposer2-4khd-7b",
            ),
            HubId(
                "Shanghai_AI_Laboratory/internlm-xcomposer2d5-7b",
                "internlm/internlm-xcomposer2d5-7b",
            ),
        ),
        modalities=("text", "image", "video"),
        stop_tokens=("[UNUSED_TOKEN_145]",),
    ),
)
