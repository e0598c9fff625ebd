"""Qwen models whose code is not in transformers: known by name, not loadable without it."""

from __future__ import annotations

from swiftrl.models.spec import HubId, Markers, ModelSpec, only_modelscope, same_ids

__all__ = ["SPECS"]

SPECS = (
    ModelSpec(
        name="qwen",
        architectures=("QWenLMHeadModel",),
        hub_ids=(
            *same_ids(
                "Qwen/Qwen-1_8B-Chat",
                "Qwen/Qwen-7B-Chat",
                "Qwen/Qwen-14B-Chat",
                "Qwen/Qwen-72B-Chat",
                "Qwen/Qwen-1_8B",
                "Qwen/Qwen-7B",
                "Qwen/Qwen-14B",
                "Qwen/Qwen-72B",
                "Qwen/Qwen-1_8B-Chat-Int4",
                "Qwen/Qwen-7B-Chat-Int4",
                "Qwen/Qwen-14B-Chat-Int4",
                "Qwen/Qwen-72B-Chat-Int4",
                "Qwen/Qwen-1_8B-Chat-Int8",
                "Qwen/Qwen-7B-Chat-Int8",
                "Qwen/Qwen-14B-Chat-Int8",
                "Qwen/Qwen-72B-Chat-Int8",
            ),
            *only_modelscope("TongyiFinance/Tongyi-Finance-14B"),
            HubId("TongyiFinance/Tongyi-Finance-14B-Chat", "jxy/Tongyi-Finance-14B-Chat"),
            HubId("TongyiFinance/Tongyi-Finance-14B-Chat-Int4", "jxy/Tongyi-Finance-14B-Chat-Int4"),
        ),
        template="chatml",
        stop_tokens=("<|im_end|>",),
        capabilities=("base", "chat"),
    ),
    ModelSpec(
        name="modelscope_agent",
        architectures=("QWenLMHeadModel",),
        hub_ids=only_modelscope("iic/ModelScope-Agent-7B", "iic/ModelScope-Agent-14B"),
        stop_tokens=("<|im_end|>",),
        markers=Markers(names=("modelscope-agent",)),
        tool_syntax="react",
        capabilities=("chat", "tools"),
    ),
    ModelSpec(
        name="codefuse_qwen",
        architectures=("QWenLMHeadModel",),
        hub_ids=same_ids("codefuse-ai/CodeFuse-QWen-14B"),
        template="codefuse",
        markers=Markers(names=("codefuse",)),
    ),
    ModelSpec(
        name="qwen_vl",
        architectures=("QWenLMHeadModel",),
        hub_ids=same_ids("Qwen/Qwen-VL-Chat", "Qwen/Qwen-VL", "Qwen/Qwen-VL-Chat-Int4"),
        modalities=("text", "image"),
        stop_tokens=("<|im_end|>",),
        markers=Markers(names=("qwen-vl",)),
        capabilities=("base", "chat"),
    ),
    ModelSpec(
        name="qwen_audio",
        architectures=("QWenLMHeadModel",),
        hub_ids=same_ids("Qwen/Qwen-Audio-Chat", "Qwen/Qwen-Audio"),
        modalities=("text", "audio"),
        stop_tokens=("<|im_end|>",),
        markers=Markers(names=("qwen-audio",)),
        capabilities=("base", "chat"),
    ),
    ModelSpec(
        name="qwen2_reward",
        architectures=("Qwen2ForRewardModel",),
        hub_ids=same_ids("Qwen/Qwen2-Math-RM-72B", "Qwen/Qwen2.5-Math-RM-72B"),
        capabilities=("reward",),
    ),
    ModelSpec(
        name="qwen2_5_prm",
        architectures=("Qwen2ForProcessRewardModel",),
        hub_ids=same_ids(
            "Qwen/Qwen2.5-Math-PRM-7B", "Qwen/Qwen2.5-Math-7B-PRM800K", "Qwen/Qwen2.5-Math-PRM-72B"
        ),
        capabilities=("reward",),
    ),
    ModelSpec(
        name="qwen3_tts",
        architectures=("Qwen3TTSForConditionalGeneration",),
        hub_ids=same_ids(
            "Qwen/Qwen3-TTS-12Hz-1.7B-Base",
            "Qwen/Qwen3-TTS-12Hz-1.7B-CustomVoice",
            "Qwen/Qwen3-TTS-12Hz-0.6B-Base",
            "Qwen/Qwen3-TTS-12Hz-0.6B-CustomVoice",
        ),
        modalities=("text", "audio"),
    ),
)
