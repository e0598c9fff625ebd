"""Qwen: text and vision-language models of Alibaba's Qwen team."""

from swiftrl.models.spec import ModelSpec, Towers, same_ids

_LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
_VISION = Towers(vision=("visual",), aligner=("visual.merger", "visual.deepstack_merger_list"))

SPECS = (
    ModelSpec(
        name="qwen2",
        architectures=("Qwen2ForCausalLM",),
        hub_ids=same_ids(
            "Qwen/Qwen2-0.5B-Instruct",
            "Qwen/Qwen2-1.5B-Instruct",
            "Qwen/Qwen2-7B-Instruct",
            "Qwen/Qwen2.5-0.5B",
            "Qwen/Qwen2.5-0.5B-Instruct",
            "Qwen/Qwen2.5-1.5B-Instruct",
            "Qwen/Qwen2.5-3B-Instruct",
            "Qwen/Qwen2.5-7B",
            "Qwen/Qwen2.5-7B-Instruct",
            "Qwen/Qwen2.5-14B-Instruct",
            "Qwen/Qwen2.5-32B-Instruct",
            "Qwen/Qwen2.5-72B-Instruct",
            "Qwen/Qwen2.5-Coder-7B-Instruct",
            "Qwen/Qwen2.5-Math-7B-Instruct",
            "Qwen/QwQ-32B",
        ),
        stop_tokens=("<|im_end|>",),
        lora_targets=_LINEAR,
    ),
    ModelSpec(
        name="qwen3",
        architectures=("Qwen3ForCausalLM",),
        hub_ids=same_ids(
            "Qwen/Qwen3-0.6B",
            "Qwen/Qwen3-0.6B-Base",
            "Qwen/Qwen3-1.7B",
            "Qwen/Qwen3-4B",
            "Qwen/Qwen3-4B-Instruct-2507",
            "Qwen/Qwen3-4B-Thinking-2507",
            "Qwen/Qwen3-8B",
            "Qwen/Qwen3-14B",
            "Qwen/Qwen3-32B",
        ),
        stop_tokens=("<|im_end|>",),
        lora_targets=_LINEAR,
        min_transformers="4.51.0",
    ),
    ModelSpec(
        name="qwen3_moe",
        architectures=("Qwen3MoeForCausalLM",),
        hub_ids=same_ids(
            "Qwen/Qwen3-30B-A3B",
            "Qwen/Qwen3-30B-A3B-Instruct-2507",
            "Qwen/Qwen3-235B-A22B",
            "Qwen/Qwen3-Coder-30B-A3B-Instruct",
        ),
        stop_tokens=("<|im_end|>",),
        lora_targets=("q_proj", "k_proj", "v_proj", "o_proj"),
        min_transformers="4.51.0",
    ),
    ModelSpec(
        name="qwen2_vl",
        architectures=("Qwen2VLForConditionalGeneration",),
        hub_ids=same_ids("Qwen/Qwen2-VL-2B-Instruct", "Qwen/Qwen2-VL-7B-Instruct"),
        modalities=("text", "image", "video"),
        stop_tokens=("<|im_end|>",),
        lora_targets=_LINEAR,
        towers=_VISION,
    ),
    ModelSpec(
        name="qwen2_5_vl",
        architectures=("Qwen2_5_VLForConditionalGeneration",),
        hub_ids=same_ids(
            "Qwen/Qwen2.5-VL-3B-Instruct",
            "Qwen/Qwen2.5-VL-7B-Instruct",
            "Qwen/Qwen2.5-VL-72B-Instruct",
        ),
        modalities=("text", "image", "video"),
        stop_tokens=("<|im_end|>",),
        lora_targets=_LINEAR,
        towers=_VISION,
    ),
    ModelSpec(
        name="qwen3_vl",
        architectures=("Qwen3VLForConditionalGeneration",),
        hub_ids=same_ids("Qwen/Qwen3-VL-4B-Instruct", "Qwen/Qwen3-VL-8B-Instruct"),
        modalities=("text", "image", "video"),
        stop_tokens=("<|im_end|>",),
        lora_targets=_LINEAR,
        towers=_VISION,
        min_transformers="4.57.0",
    ),
)
