"""Microsoft's models."""

from __future__ import annotations

from swiftrl.models.layer_names import (
    ATTENTION,
    ATTENTION_GROUPS,
    DENSE_GROUPS,
    FAIRSEQ,
    FAIRSEQ_GROUPS,
    LINEAR,
)
from swiftrl.models.spec import HubId, Markers, ModelSpec, Towers, only_huggingface

__all__ = ["SPECS"]

SPECS = (
    ModelSpec(
        name="phi",
        architectures=("PhiForCausalLM",),
        hub_ids=(
            *only_huggingface("microsoft/phi-1"),
            HubId("allspace/PHI_1-5", "microsoft/phi-1_5"),
            HubId("AI-ModelScope/phi-2", "microsoft/phi-2"),
        ),
        lora_targets=("q_proj", "k_proj", "v_proj", "dense", "fc1", "fc2"),
        min_transformers="4.36.0",
        capabilities=("base",),
        quant_groups=(("q_proj", "k_proj", "v_proj"), ("dense",), ("fc1",), ("fc2",)),
    ),
    ModelSpec(
        name="phi3",
        architectures=("Phi3ForCausalLM",),
        hub_ids=(
            HubId("LLM-Research/Phi-3-mini-4k-instruct", "microsoft/Phi-3-mini-4k-instruct"),
            HubId("LLM-Research/Phi-3-mini-128k-instruct", "microsoft/Phi-3-mini-128k-instruct"),
            HubId("LLM-Research/Phi-3-medium-4k-instruct", "microsoft/Phi-3-medium-4k-instruct"),
            HubId(
                "LLM-Research/Phi-3-medium-128k-instruct", "microsoft/Phi-3-medium-128k-instruct"
            ),
            HubId("LLM-Research/Phi-3.5-mini-instruct", "microsoft/Phi-3.5-mini-instruct"),
            HubId("LLM-Research/Phi-4-mini-instruct", "microsoft/Phi-4-mini-instruct"),
        ),
        template="phi3",
        stop_tokens=("<|end|>",),
        lora_targets=("o_proj", "qkv_proj", "gate_up_proj", "down_proj"),
        min_transformers="4.41.0",
        tool_syntax="phi4",
        capabilities=("chat", "tools"),
        quant_groups=(("qkv_proj",), ("o_proj",), ("gate_up_proj",), ("down_proj",)),
    ),
    ModelSpec(
        name="phi4",
        architectures=("Phi3ForCausalLM",),
        hub_ids=(HubId("LLM-Research/phi-4", "microsoft/phi-4"),),
        template="phi4",
        stop_tokens=("<|im_end|>",),
        lora_targets=("o_proj", "qkv_proj", "gate_up_proj", "down_proj"),
        min_transformers="4.41.0",
        markers=Markers(tokens=("<|im_sep|>",)),
        quant_groups=(("qkv_proj",), ("o_proj",), ("gate_up_proj",), ("down_proj",)),
    ),
    ModelSpec(
        name="phimoe",
        architectures=("PhimoeForCausalLM", "PhiMoEForCausalLM"),
        hub_ids=(HubId("LLM-Research/Phi-3.5-MoE-instruct", "microsoft/Phi-3.5-MoE-instruct"),),
        template="phi3",
        stop_tokens=("<|end|>",),
        lora_targets=ATTENTION,
        min_transformers="4.46.0",
        quant_groups=ATTENTION_GROUPS,
    ),
    ModelSpec(
        name="phi4_multimodal_hf",
        architectures=("Phi4MultimodalForCausalLM",),
        modalities=("text", "image", "audio"),
        stop_tokens=("<|end|>",),
        lora_targets=("o_proj", "qkv_proj", "gate_up_proj", "down_proj"),
        towers=Towers(vision=("image_embed", "audio_embed")),
        quant_groups=(("qkv_proj",), ("o_proj",), ("gate_up_proj",), ("down_proj",)),
    ),
    ModelSpec(
        name="phi3_small",
        architectures=("Phi3SmallForCausalLM",),
        hub_ids=(
            HubId("LLM-Research/Phi-3-small-8k-instruct", "microsoft/Phi-3-small-8k-instruct"),
            HubId("LLM-Research/Phi-3-small-128k-instruct", "microsoft/Phi-3-small-128k-instruct"),
        ),
        template="phi3",
        stop_tokens=("<|end|>",),
    ),
    ModelSpec(
        name="phi3_vision",
        architectures=("Phi3VForCausalLM",),
        hub_ids=(
            HubId(
                "LLM-Research/Phi-3-vision-128k-instruct", "microsoft/Phi-3-vision-128k-instruct"
            ),
            HubId("LLM-Research/Phi-3.5-vision-instruct", "microsoft/Phi-3.5-vision-instruct"),
        ),
        modalities=("text", "image"),
        stop_tokens=("<|end|>",),
    ),
    ModelSpec(
        name="phi4_multimodal",
        architectures=("Phi4MMForCausalLM",),
        hub_ids=(
            HubId("LLM-Research/Phi-4-multimodal-instruct", "microsoft/Phi-4-multimodal-instruct"),
        ),
        modalities=("text", "image", "audio"),
        stop_tokens=("<|end|>",),
    ),
    ModelSpec(
        name="bitnet",
        architectures=("BitNetForCausalLM",),
        hub_ids=only_huggingface("microsoft/bitnet-b1.58-2B-4T"),
        stop_tokens=("<|eot_id|>",),
        lora_targets=LINEAR,
        min_transformers="4.52.0",
        quant_groups=DENSE_GROUPS,
    ),
    ModelSpec(
        name="biogpt",
        architectures=("BioGptForCausalLM",),
        hub_ids=only_huggingface("microsoft/biogpt"),
        lora_targets=FAIRSEQ,
        capabilities=("base",),
        quant_groups=FAIRSEQ_GROUPS,
    ),
    ModelSpec(
        name="kosmos2",
        architectures=("Kosmos2ForConditionalGeneration",),
        hub_ids=only_huggingface("microsoft/kosmos-2-patch14-224"),
        modalities=("text", "image"),
        lora_targets=FAIRSEQ,
        towers=Towers(vision=("vision_model",), aligner=("image_to_text_projection",)),
        min_transformers="4.36.0",
        capabilities=("base",),
        quant_groups=FAIRSEQ_GROUPS,
    ),
    ModelSpec(
        name="kosmos2_5",
        architectures=("Kosmos2_5ForConditionalGeneration",),
        hub_ids=only_huggingface("microsoft/kosmos-2.5"),
        modalities=("text", "image"),
        lora_targets=FAIRSEQ,
        towers=Towers(vision=("vision_model",), aligner=("image_to_text_projection",)),
        capabilities=("base",),
        quant_groups=FAIRSEQ_GROUPS,
    ),
    ModelSpec(
        name="florence2",
        architectures=("Florence2ForConditionalGeneration",),
        hub_ids=(
            *only_huggingface(
                "florence-community/Florence-2-base", "florence-community/Florence-2-large"
            ),
            HubId("AI-ModelScope/Florence-2-base-ft", "microsoft/Florence-2-base-ft"),
            HubId("AI-ModelScope/Florence-2-base", "microsoft/Florence-2-base"),
            HubId("AI-ModelScope/Florence-2-large", "microsoft/Florence-2-large"),
            HubId("AI-ModelScope/Florence-2-large-ft", "microsoft/Florence-2-large-ft"),
        ),
        modalities=("text", "image"),
        lora_targets=FAIRSEQ,
        towers=Towers(vision=("vision_tower",), aligner=("multi_modal_projector",)),
        min_transformers="4.56.0",
        capabilities=("base",),
        quant_groups=FAIRSEQ_GROUPS,
    ),
    ModelSpec(
        name="vibevoice_asr",
        architectures=("VibeVoiceAsrForConditionalGeneration",),
        hub_ids=only_huggingface("microsoft/VibeVoice-ASR-HF"),
        modalities=("text", "audio"),
        lora_targets=LINEAR,
        towers=Towers(
            vision=("acoustic_tokenizer_encoder", "semantic_tokenizer_encoder"),
            aligner=("multi_modal_projector",),
        ),
        min_transformers="5.3.0",
        quant_groups=DENSE_GROUPS,
    ),
    ModelSpec(
        name="git",
        architectures=("GitForCausalLM",),
        hub_ids=only_huggingface(
            "microsoft/git-base",
            "microsoft/git-base-coco",
            "microsoft/git-base-textvqa",
            "microsoft/git-base-vatex",
        ),
        modalities=("text", "image"),
        lora_targets=("query", "key", "value", "dense"),
        towers=Towers(vision=("image_encoder",), aligner=("visual_projection",)),
        capabilities=("base",),
    ),
    ModelSpec(
        name="udop",
        architectures=("UdopForConditionalGeneration",),
        hub_ids=only_huggingface("microsoft/udop-large"),
        modalities=("text", "image"),
        lora_targets=("q", "k", "v", "o", "wi", "wo"),
        towers=Towers(vision=("patch_embed",)),
        capabilities=("base",),
    ),
)
