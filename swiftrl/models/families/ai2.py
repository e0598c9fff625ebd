"""OLMo and Molmo of the Allen Institute for AI."""

from __future__ import annotations

from swiftrl.models.layer_names import ATTENTION, ATTENTION_GROUPS, DENSE_GROUPS, LINEAR
from swiftrl.models.spec import HubId, ModelSpec, Towers, only_huggingface, same_ids

__all__ = ["SPECS"]

SPECS = (
    ModelSpec(
        name="olmo",
        architectures=("OlmoForCausalLM",),
        hub_ids=only_huggingface(
            "allenai/OLMo-1B-hf",
            "allenai/OLMo-7B-hf",
            "ssec-uw/OLMo-7B-Instruct-hf",
            "allenai/OLMo-1.7-7B-hf",
        ),
        template="tulu",
        lora_targets=LINEAR,
        min_transformers="4.40.0",
        capabilities=("base", "chat"),
        quant_groups=DENSE_GROUPS,
    ),
    ModelSpec(
        name="olmo2",
        architectures=("Olmo2ForCausalLM",),
        hub_ids=(
            *same_ids(
                "allenai/OLMo-2-1124-7B", "allenai/OLMo-2-0425-1B", "allenai/OLMo-2-1124-13B"
            ),
            *only_huggingface(
                "allenai/OLMo-2-0425-1B-Instruct",
                "allenai/OLMo-2-1124-7B-Instruct",
                "allenai/OLMo-2-1124-13B-Instruct",
                "allenai/OLMo-2-0325-32B-Instruct",
            ),
        ),
        template="tulu",
        lora_targets=LINEAR,
        min_transformers="4.47.0",
        capabilities=("base", "chat"),
        quant_groups=DENSE_GROUPS,
    ),
    ModelSpec(
        name="olmo3",
        architectures=("Olmo3ForCausalLM",),
        hub_ids=only_huggingface(
            "allenai/Olmo-3-7B-Instruct",
            "allenai/Olmo-3-32B-Think",
            "allenai/Olmo-3-7B-Think",
            "allenai/Olmo-3.1-32B-Instruct",
        ),
        stop_tokens=("<|im_end|>",),
        lora_targets=LINEAR,
        min_transformers="4.57.0",
        tool_syntax="olmo3",
        reasoning="think",
        capabilities=("chat", "tools", "reasoning"),
        quant_groups=DENSE_GROUPS,
    ),
    ModelSpec(
        name="olmo_hybrid",
        architectures=("OlmoHybridForCausalLM",),
        hub_ids=only_huggingface("allenai/Olmo-Hybrid-7B"),
        lora_targets=(
            "gate_proj",
            "up_proj",
            "down_proj",
            "q_proj",
            "k_proj",
            "v_proj",
            "a_proj",
            "b_proj",
            "g_proj",
            "o_proj",
        ),
        min_transformers="5.3.0",
        capabilities=("base",),
    ),
    ModelSpec(
        name="olmoe",
        architectures=("OlmoeForCausalLM",),
        hub_ids=same_ids(
            "allenai/OLMoE-1B-7B-0125",
            "allenai/OLMoE-1B-7B-0125-Instruct",
            "allenai/OLMoE-1B-7B-0924",
            "allenai/OLMoE-1B-7B-0924-Instruct",
            "allenai/OLMoE-1B-7B-0924-SFT",
        ),
        template="tulu",
        lora_targets=ATTENTION,
        min_transformers="4.45.0",
        capabilities=("base", "chat"),
        quant_groups=ATTENTION_GROUPS,
    ),
    ModelSpec(
        name="flex_olmo",
        architectures=("FlexOlmoForCausalLM",),
        hub_ids=only_huggingface(
            "allenai/FlexOlmo-7x7B-1T", "allenai/FlexOlmo-7x7B-1T-RT", "allenai/Flex-reddit-2x7B-1T"
        ),
        template="tulu",
        lora_targets=ATTENTION,
        min_transformers="4.57.0",
        capabilities=("base",),
        quant_groups=ATTENTION_GROUPS,
    ),
    ModelSpec(
        name="molmo2",
        architectures=("Molmo2ForConditionalGeneration",),
        hub_ids=(
            *only_huggingface("allenai/MolmoWeb-4B", "allenai/MolmoWeb-8B"),
            *same_ids("allenai/Molmo2-4B", "allenai/Molmo2-8B", "allenai/Molmo2-O-7B"),
        ),
        modalities=("text", "image", "video"),
        stop_tokens=("<|im_end|>",),
        lora_targets=LINEAR,
        towers=Towers(vision=("vision_tower",), aligner=("multi_modal_projector",)),
        min_transformers="5.20.0",
        quant_groups=DENSE_GROUPS,
    ),
    ModelSpec(
        name="molmo",
        architectures=("MolmoForCausalLM",),
        hub_ids=(
            HubId("LLM-Research/Molmo-7B-O-0924", "allenai/Molmo-7B-O-0924"),
            HubId("LLM-Research/Molmo-7B-D-0924", "allenai/Molmo-7B-D-0924"),
            HubId("LLM-Research/Molmo-72B-0924", "allenai/Molmo-72B-0924"),
        ),
        modalities=("text", "image"),
    ),
    ModelSpec(
        name="molmoe",
        architectures=("OLMoForCausalLM",),
        hub_ids=(HubId("LLM-Research/MolmoE-1B-0924", "allenai/MolmoE-1B-0924"),),
        modalities=("text", "image"),
    ),
)
