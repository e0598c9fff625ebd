"""Llama: Meta's models, and others published in the same architecture."""

from swiftrl.models.spec import HubId, ModelSpec, Towers, same_ids

_LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")

SPECS = (
    ModelSpec(
        name="llama",
        architectures=("LlamaForCausalLM",),
        hub_ids=(
            HubId("LLM-Research/Meta-Llama-3-8B-Instruct", "meta-llama/Meta-Llama-3-8B-Instruct"),
            HubId(
                "LLM-Research/Meta-Llama-3.1-8B-Instruct", "meta-llama/Meta-Llama-3.1-8B-Instruct"
            ),
            HubId("LLM-Research/Llama-3.2-1B-Instruct", "meta-llama/Llama-3.2-1B-Instruct"),
            HubId("LLM-Research/Llama-3.2-3B-Instruct", "meta-llama/Llama-3.2-3B-Instruct"),
            HubId("LLM-Research/Llama-3.3-70B-Instruct", "meta-llama/Llama-3.3-70B-Instruct"),
        ),
        stop_tokens=("<|eot_id|>", "<|eom_id|>"),
        lora_targets=_LINEAR,
    ),
    ModelSpec(
        name="llava",
        architectures=("LlavaForConditionalGeneration",),
        hub_ids=same_ids("llava-hf/llava-1.5-7b-hf", "llava-hf/llava-1.5-13b-hf"),
        modalities=("text", "image"),
        lora_targets=_LINEAR,
        towers=Towers(vision=("vision_tower",), aligner=("multi_modal_projector",)),
    ),
)
