"""Zhipu AI's GLM models that transformers implements."""

from swiftrl.models.spec import HubId, ModelSpec

_LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_up_proj", "down_proj")

SPECS = (
    ModelSpec(
        name="glm",
        architectures=("GlmForCausalLM",),
        hub_ids=(HubId("ZhipuAI/glm-4-9b-chat-hf", "zai-org/glm-4-9b-chat-hf"),),
        stop_tokens=("<|user|>", "<|observation|>"),
        lora_targets=_LINEAR,
    ),
    ModelSpec(
        name="glm4",
        architectures=("Glm4ForCausalLM",),
        hub_ids=(
            HubId("ZhipuAI/GLM-4-9B-0414", "zai-org/GLM-4-9B-0414"),
            HubId("ZhipuAI/GLM-4-32B-0414", "zai-org/GLM-4-32B-0414"),
        ),
        stop_tokens=("<|user|>", "<|observation|>"),
        lora_targets=_LINEAR,
        min_transformers="4.51.3",
    ),
)
