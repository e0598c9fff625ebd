"""Meta's models."""

from __future__ import annotations

from swiftrl.models.layer_names import DENSE_GROUPS, FAIRSEQ, FAIRSEQ_GROUPS, LINEAR
from swiftrl.models.spec import HubId, Markers, ModelSpec, Towers, only_huggingface, same_ids

__all__ = ["SPECS"]

SPECS = (
    ModelSpec(
        name="llama",
        architectures=("LlamaForCausalLM",),
        hub_ids=(
            *same_ids("unsloth/Llama-3.3-70B-Instruct-bnb-4bit"),
            HubId("LLM-Research/Meta-Llama-3-8B-Instruct", "meta-llama/Meta-Llama-3-8B-Instruct"),
            HubId("LLM-Research/Meta-Llama-3-70B-Instruct", "meta-llama/Meta-Llama-3-70B-Instruct"),
            HubId("LLM-Research/Meta-Llama-3-8B", "meta-llama/Meta-Llama-3-8B"),
            HubId("LLM-Research/Meta-Llama-3-70B", "meta-llama/Meta-Llama-3-70B"),
            HubId(
                "swift/Meta-Llama-3-8B-Instruct-GPTQ-Int4",
                "study-hjt/Meta-Llama-3-8B-Instruct-GPTQ-Int4",
            ),
            HubId(
                "swift/Meta-Llama-3-8B-Instruct-GPTQ-Int8",
                "study-hjt/Meta-Llama-3-8B-Instruct-GPTQ-Int8",
            ),
            HubId("swift/Meta-Llama-3-8B-Instruct-AWQ", "study-hjt/Meta-Llama-3-8B-Instruct-AWQ"),
            HubId(
                "swift/Meta-Llama-3-70B-Instruct-GPTQ-Int4",
                "study-hjt/Meta-Llama-3-70B-Instruct-GPTQ-Int4",
            ),
            HubId(
                "swift/Meta-Llama-3-70B-Instruct-GPTQ-Int8",
                "study-hjt/Meta-Llama-3-70B-Instruct-GPTQ-Int8",
            ),
            HubId("swift/Meta-Llama-3-70B-Instruct-AWQ", "study-hjt/Meta-Llama-3-70B-Instruct-AWQ"),
            HubId(
                "ChineseAlpacaGroup/llama-3-chinese-8b-instruct", "hfl/llama-3-chinese-8b-instruct"
            ),
            HubId("ChineseAlpacaGroup/llama-3-chinese-8b", "hfl/llama-3-chinese-8b"),
            HubId(
                "LLM-Research/Meta-Llama-3.1-8B-Instruct", "meta-llama/Meta-Llama-3.1-8B-Instruct"
            ),
            HubId(
                "LLM-Research/Meta-Llama-3.1-70B-Instruct", "meta-llama/Meta-Llama-3.1-70B-Instruct"
            ),
            HubId(
                "LLM-Research/Meta-Llama-3.1-405B-Instruct",
                "meta-llama/Meta-Llama-3.1-405B-Instruct",
            ),
            HubId("LLM-Research/Meta-Llama-3.1-8B", "meta-llama/Meta-Llama-3.1-8B"),
            HubId("LLM-Research/Meta-Llama-3.1-70B", "meta-llama/Meta-Llama-3.1-70B"),
            HubId("LLM-Research/Meta-Llama-3.1-405B", "meta-llama/Meta-Llama-3.1-405B"),
            HubId(
                "LLM-Research/Meta-Llama-3.1-70B-Instruct-FP8",
                "meta-llama/Meta-Llama-3.1-70B-Instruct-FP8",
            ),
            HubId(
                "LLM-Research/Meta-Llama-3.1-405B-Instruct-FP8",
                "meta-llama/Meta-Llama-3.1-405B-Instruct-FP8",
            ),
            HubId(
                "LLM-Research/Meta-Llama-3.1-8B-Instruct-BNB-NF4",
                "hugging-quants/Meta-Llama-3.1-8B-Instruct-BNB-NF4",
            ),
            HubId(
                "LLM-Research/Meta-Llama-3.1-70B-Instruct-bnb-4bit",
                "unsloth/Meta-Llama-3.1-70B-Instruct-bnb-4bit",
            ),
            HubId(
                "LLM-Research/Meta-Llama-3.1-405B-Instruct-BNB-NF4",
                "hugging-quants/Meta-Llama-3.1-405B-Instruct-BNB-NF4",
            ),
            HubId(
                "LLM-Research/Meta-Llama-3.1-8B-Instruct-GPTQ-INT4",
                "hugging-quants/Meta-Llama-3.1-8B-Instruct-GPTQ-INT4",
            ),
            HubId(
                "LLM-Research/Meta-Llama-3.1-70B-Instruct-GPTQ-INT4",
                "hugging-quants/Meta-Llama-3.1-70B-Instruct-GPTQ-INT4",
            ),
            HubId(
                "LLM-Research/Meta-Llama-3.1-405B-Instruct-GPTQ-INT4",
                "hugging-quants/Meta-Llama-3.1-405B-Instruct-GPTQ-INT4",
            ),
            HubId(
                "LLM-Research/Meta-Llama-3.1-8B-Instruct-AWQ-INT4",
                "hugging-quants/Meta-Llama-3.1-8B-Instruct-AWQ-INT4",
            ),
            HubId(
                "LLM-Research/Meta-Llama-3.1-70B-Instruct-AWQ-INT4",
                "hugging-quants/Meta-Llama-3.1-70B-Instruct-AWQ-INT4",
            ),
            HubId(
                "LLM-Research/Meta-Llama-3.1-405B-Instruct-AWQ-INT4",
                "hugging-quants/Meta-Llama-3.1-405B-Instruct-AWQ-INT4",
            ),
            HubId(
                "AI-ModelScope/Llama-3.1-Nemotron-70B-Instruct-HF",
                "nvidia/Llama-3.1-Nemotron-70B-Instruct-HF",
            ),
            *only_huggingface("nvidia/Llama-3.1-Nemotron-Nano-8B-v1"),
            HubId("LLM-Research/Llama-3.2-1B", "meta-llama/Llama-3.2-1B"),
            HubId("LLM-Research/Llama-3.2-3B", "meta-llama/Llama-3.2-3B"),
            HubId("LLM-Research/Llama-3.2-1B-Instruct", "meta-llama/Llama-3.2-1B-Instruct"),
            HubId("LLM-Research/Llama-3.2-3B-Instruct", "meta-llama/Llama-3.2-3B-Instruct"),
            HubId("LLM-Research/Llama-3.3-70B-Instruct", "meta-llama/Llama-3.3-70B-Instruct"),
        ),
        template="llama3",
        stop_tokens=("<|eot_id|>", "<|eom_id|>"),
        lora_targets=LINEAR,
        min_transformers="4.28.0",
        tool_syntax="llama3",
        capabilities=("base", "chat", "tools"),
        quant_groups=DENSE_GROUPS,
    ),
    ModelSpec(
        name="llama2",
        architectures=("LlamaForCausalLM",),
        hub_ids=(
            HubId("skyline2006/llama-7b", "huggyllama/llama-7b"),
            HubId("skyline2006/llama-13b", "huggyllama/llama-13b"),
            HubId("skyline2006/llama-30b", "huggyllama/llama-30b"),
            HubId("skyline2006/llama-65b", "huggyllama/llama-65b"),
            HubId("modelscope/Llama-2-7b-ms", "meta-llama/Llama-2-7b-hf"),
            HubId("modelscope/Llama-2-13b-ms", "meta-llama/Llama-2-13b-hf"),
            HubId("modelscope/Llama-2-70b-ms", "meta-llama/Llama-2-70b-hf"),
            HubId("modelscope/Llama-2-7b-chat-ms", "meta-llama/Llama-2-7b-chat-hf"),
            HubId("modelscope/Llama-2-13b-chat-ms", "meta-llama/Llama-2-13b-chat-hf"),
            HubId("modelscope/Llama-2-70b-chat-ms", "meta-llama/Llama-2-70b-chat-hf"),
            HubId("AI-ModelScope/chinese-llama-2-1.3b", "hfl/chinese-llama-2-1.3b"),
            HubId("AI-ModelScope/chinese-llama-2-7b", "hfl/chinese-llama-2-7b"),
            HubId("AI-ModelScope/chinese-llama-2-7b-16k", "hfl/chinese-llama-2-7b-16k"),
            HubId("AI-ModelScope/chinese-llama-2-7b-64k", "hfl/chinese-llama-2-7b-64k"),
            HubId("AI-ModelScope/chinese-llama-2-13b", "hfl/chinese-llama-2-13b"),
            HubId("AI-ModelScope/chinese-llama-2-13b-16k", "hfl/chinese-llama-2-13b-16k"),
            HubId("AI-ModelScope/chinese-alpaca-2-1.3b", "hfl/chinese-alpaca-2-1.3b"),
            HubId("AI-ModelScope/chinese-alpaca-2-7b", "hfl/chinese-alpaca-2-7b"),
            HubId("AI-ModelScope/chinese-alpaca-2-7b-16k", "hfl/chinese-alpaca-2-7b-16k"),
            HubId("AI-ModelScope/chinese-alpaca-2-7b-64k", "hfl/chinese-alpaca-2-7b-64k"),
            HubId("AI-ModelScope/chinese-alpaca-2-13b", "hfl/chinese-alpaca-2-13b"),
            HubId("AI-ModelScope/chinese-alpaca-2-13b-16k", "hfl/chinese-alpaca-2-13b-16k"),
            HubId(
                "AI-ModelScope/Llama-2-7b-AQLM-2Bit-1x16-hf",
                "ISTA-DASLab/Llama-2-7b-AQLM-2Bit-1x16-hf",
            ),
            *only_huggingface(
                "openlm-research/open_llama_3b",
                "openlm-research/open_llama_7b",
                "openlm-research/open_llama_13b",
                "togethercomputer/LLaMA-2-7B-32K",
            ),
        ),
        template="llama2",
        lora_targets=LINEAR,
        min_transformers="4.28.0",
        markers=Markers(config={"vocab_size": (32000,)}),
        capabilities=("base", "chat"),
        quant_groups=DENSE_GROUPS,
    ),
    ModelSpec(
        name="llama_reward",
        architectures=("LlamaForSequenceClassification",),
        hub_ids=(
            HubId(
                "AI-ModelScope/Skywork-Reward-Llama-3.1-8B", "Skywork/Skywork-Reward-Llama-3.1-8B"
            ),
            HubId(
                "AI-ModelScope/Skywork-Reward-Llama-3.1-8B-v0.2",
                "Skywork/Skywork-Reward-Llama-3.1-8B-v0.2",
            ),
            HubId(
                "AI-ModelScope/GRM_Llama3.1_8B_rewardmodel-ft",
                "Ray2333/GRM_Llama3.1_8B_rewardmodel-ft",
            ),
            HubId(
                "AI-ModelScope/GRM-llama3.2-3B-rewardmodel-ft",
                "Ray2333/GRM-llama3.2-3B-rewardmodel-ft",
            ),
            *same_ids("Skywork/Skywork-Reward-V2-Llama-3.1-8B"),
            *only_huggingface(
                "Skywork/Skywork-Reward-V2-Llama-3.2-1B", "allenai/Llama-3.1-Tulu-3-8B-RM"
            ),
        ),
        stop_tokens=("<|eot_id|>",),
        lora_targets=LINEAR,
        min_transformers="4.28.0",
        capabilities=("reward",),
        quant_groups=DENSE_GROUPS,
    ),
    ModelSpec(
        name="mllama",
        architectures=("MllamaForConditionalGeneration",),
        hub_ids=(
            HubId(
                "LLM-Research/Llama-3.2-11B-Vision-Instruct",
                "meta-llama/Llama-3.2-11B-Vision-Instruct",
            ),
            HubId(
                "LLM-Research/Llama-3.2-90B-Vision-Instruct",
                "meta-llama/Llama-3.2-90B-Vision-Instruct",
            ),
            HubId("LLM-Research/Llama-3.2-11B-Vision", "meta-llama/Llama-3.2-11B-Vision"),
            HubId("LLM-Research/Llama-3.2-90B-Vision", "meta-llama/Llama-3.2-90B-Vision"),
        ),
        modalities=("text", "image"),
        template="llama3",
        stop_tokens=("<|eot_id|>", "<|eom_id|>"),
        lora_targets=LINEAR,
        towers=Towers(vision=("vision_model",), aligner=("multi_modal_projector",)),
        min_transformers="4.45.0",
        tool_syntax="llama3",
        capabilities=("base", "chat", "tools"),
        quant_groups=DENSE_GROUPS,
    ),
    ModelSpec(
        name="llama4",
        architectures=("Llama4ForConditionalGeneration",),
        hub_ids=(
            HubId("LLM-Research/Llama-4-Scout-17B-16E", "meta-llama/Llama-4-Scout-17B-16E"),
            HubId("LLM-Research/Llama-4-Maverick-17B-128E", "meta-llama/Llama-4-Maverick-17B-128E"),
            HubId(
                "LLM-Research/Llama-4-Scout-17B-16E-Instruct",
                "meta-llama/Llama-4-Scout-17B-16E-Instruct",
            ),
            HubId(
                "LLM-Research/Llama-4-Maverick-17B-128E-Instruct-FP8",
                "meta-llama/Llama-4-Maverick-17B-128E-Instruct-FP8",
            ),
            HubId(
                "LLM-Research/Llama-4-Maverick-17B-128E-Instruct",
                "meta-llama/Llama-4-Maverick-17B-128E-Instruct",
            ),
        ),
        modalities=("text", "image"),
        template="llama4",
        stop_tokens=("<|eot|>", "<|eom|>"),
        lora_targets=LINEAR,
        towers=Towers(
            vision=("vision_model",),
            aligner=("multi_modal_projector", "vision_model.vision_adapter"),
        ),
        min_transformers="4.51.0",
        tool_syntax="llama4",
        capabilities=("base", "chat", "tools"),
        quant_groups=DENSE_GROUPS,
    ),
    ModelSpec(
        name="llama3_1_omni",
        architectures=("OmniSpeech2SLlamaForCausalLM",),
        hub_ids=same_ids("ICTNLP/Llama-3.1-8B-Omni"),
        modalities=("text", "audio"),
    ),
    ModelSpec(
        name="perception_lm",
        architectures=("PerceptionLMForConditionalGeneration",),
        hub_ids=only_huggingface("facebook/Perception-LM-1B"),
        modalities=("text", "image", "video"),
        lora_targets=LINEAR,
        towers=Towers(vision=("vision_tower",), aligner=("multi_modal_projector",)),
        requires=("timm", "torchvision"),
        quant_groups=DENSE_GROUPS,
    ),
    ModelSpec(
        name="chameleon",
        architectures=("ChameleonForConditionalGeneration",),
        hub_ids=only_huggingface("facebook/chameleon-7b"),
        modalities=("text", "image"),
        lora_targets=LINEAR,
        towers=Towers(vision=("vqmodel",)),
        min_transformers="4.43.0",
        quant_groups=DENSE_GROUPS,
    ),
    ModelSpec(
        name="cwm",
        architectures=("CwmForCausalLM",),
        hub_ids=only_huggingface("facebook/cwm"),
        stop_tokens=("<|eot_id|>",),
        lora_targets=LINEAR,
        capabilities=("chat", "tools", "reasoning"),
        quant_groups=DENSE_GROUPS,
    ),
    ModelSpec(
        name="opt",
        architectures=("OPTForCausalLM",),
        hub_ids=only_huggingface(
            "facebook/opt-350m",
            "facebook/opt-66b",
            "facebook/opt-iml-max-30b",
            "facebook/opt-125m",
            "facebook/opt-iml-max-1.3b",
        ),
        lora_targets=FAIRSEQ,
        capabilities=("base",),
        quant_groups=FAIRSEQ_GROUPS,
    ),
    ModelSpec(
        name="xglm",
        architectures=("XGLMForCausalLM",),
        hub_ids=only_huggingface("facebook/xglm-564M"),
        lora_targets=FAIRSEQ,
        capabilities=("base",),
        quant_groups=FAIRSEQ_GROUPS,
    ),
    ModelSpec(
        name="muse_glimmer",
        architectures=("MuseGlimmerForConditionalGeneration",),
        hub_ids=same_ids("meta-models/Muse-Glimmer-30B"),
        modalities=("text", "image", "video"),
        lora_targets=LINEAR,
        towers=Towers(vision=("vision_tower",), aligner=("vision_adapter", "vision_projection")),
        min_transformers="5.15.0",
        quant_groups=DENSE_GROUPS,
    ),
    ModelSpec(
        name="muse_spark",
        architectures=("MuseSparkForConditionalGeneration",),
        hub_ids=only_huggingface("meta-models/Muse-Spark-Open-816B-A42B"),
        modalities=("text", "image", "video", "audio"),
        lora_targets=(
            "q_proj",
            "k_proj",
            "v_proj",
            "o_proj",
            "gate_proj",
            "pre_expert_proj",
            "post_expert_proj",
        ),
        towers=Towers(
            vision=("vision_tower", "audio_tower"), aligner=("vision_adapter", "vision_projection")
        ),
        min_transformers="5.20.0",
    ),
    ModelSpec(
        name="llama4_text",
        architectures=("Llama4ForCausalLM",),
        template="llama4",
        stop_tokens=("<|eot|>", "<|eom|>"),
        lora_targets=LINEAR,
        min_transformers="4.51.0",
        tool_syntax="llama4",
        capabilities=("base", "chat", "tools"),
        quant_groups=DENSE_GROUPS,
    ),
    ModelSpec(
        name="mllama_text",
        architectures=("MllamaForCausalLM",),
        template="llama3",
        stop_tokens=("<|eot_id|>", "<|eom_id|>"),
        lora_targets=LINEAR,
        min_transformers="4.45.0",
        capabilities=("base", "chat"),
        quant_groups=DENSE_GROUPS,
    ),
)
