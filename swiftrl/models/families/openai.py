"""OpenAI's open models, and others published in their architectures."""

from __future__ import annotations

from swiftrl.models.layer_names import ATTENTION, ATTENTION_GROUPS, FAIRSEQ, FAIRSEQ_GROUPS
from swiftrl.models.spec import HubId, Markers, ModelSpec, Towers, only_huggingface

__all__ = ["SPECS"]

SPECS = (
    ModelSpec(
        name="gpt_oss",
        architectures=("GptOssForCausalLM",),
        hub_ids=(
            HubId("openai-mirror/gpt-oss-20b", "openai/gpt-oss-20b"),
            HubId("openai-mirror/gpt-oss-120b", "openai/gpt-oss-120b"),
            *only_huggingface("lmsys/gpt-oss-20b-bf16"),
        ),
        stop_tokens=("<|return|>", "<|call|>"),
        lora_targets=ATTENTION,
        min_transformers="4.55.0",
        tool_syntax="harmony",
        reasoning="harmony",
        capabilities=("chat", "tools", "reasoning"),
        quant_groups=ATTENTION_GROUPS,
    ),
    ModelSpec(
        name="gpt2",
        architectures=("GPT2LMHeadModel",),
        hub_ids=(
            HubId("AI-ModelScope/gpt2", "openai-community/gpt2"),
            HubId("AI-ModelScope/gpt2-medium", "openai-community/gpt2-medium"),
            HubId("AI-ModelScope/gpt2-large", "openai-community/gpt2-large"),
            HubId("goodbai95/GPT2-xl", "openai-community/gpt2-xl"),
        ),
        lora_targets=("c_attn", "c_proj", "c_fc"),
        capabilities=("base",),
    ),
    ModelSpec(
        name="polylm",
        architectures=("GPT2LMHeadModel",),
        hub_ids=(HubId("damo/nlp_polylm_13b_text_generation", "DAMO-NLP-MT/polylm-13b"),),
        lora_targets=("c_attn", "c_proj", "c_fc"),
        markers=Markers(names=("polylm",)),
        capabilities=("base",),
    ),
    ModelSpec(
        name="openai_gpt",
        architectures=("OpenAIGPTLMHeadModel",),
        hub_ids=only_huggingface("openai-community/openai-gpt"),
        lora_targets=("c_attn", "c_proj", "c_fc"),
        capabilities=("base",),
    ),
    ModelSpec(
        name="whisper",
        architectures=("WhisperForConditionalGeneration",),
        hub_ids=(
            HubId("openai-mirror/whisper-tiny", "openai/whisper-tiny"),
            HubId("openai-mirror/whisper-base", "openai/whisper-base"),
            HubId("openai-mirror/whisper-small", "openai/whisper-small"),
            HubId("openai-mirror/whisper-large-v3-turbo", "openai/whisper-large-v3-turbo"),
            *only_huggingface(
                "openai/whisper-tiny.en",
                "openai/whisper-large-v2",
                "distil-whisper/distil-large-v2",
                "openai/whisper-medium",
                "openai/whisper-large-v3",
            ),
        ),
        modalities=("text", "audio"),
        lora_targets=FAIRSEQ,
        towers=Towers(vision=("model.encoder",)),
        capabilities=("base",),
        quant_groups=FAIRSEQ_GROUPS,
    ),
)
