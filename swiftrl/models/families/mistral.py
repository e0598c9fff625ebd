"""Mistral AI's models."""

from swiftrl.models.spec import HubId, ModelSpec

_LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")

SPECS = (
    ModelSpec(
        name="mistral",
        architectures=("MistralForCausalLM",),
        hub_ids=(
            HubId("AI-ModelScope/Mistral-7B-Instruct-v0.2", "mistralai/Mistral-7B-Instruct-v0.2"),
            HubId("LLM-Research/Mistral-7B-Instruct-v0.3", "mistralai/Mistral-7B-Instruct-v0.3"),
        ),
        lora_targets=_LINEAR,
    ),
    ModelSpec(
        name="mixtral",
        architectures=("MixtralForCausalLM",),
        hub_ids=(
            HubId(
                "AI-ModelScope/Mixtral-8x7B-Instruct-v0.1", "mistralai/Mixtral-8x7B-Instruct-v0.1"
            ),
        ),
        lora_targets=("q_proj", "k_proj", "v_proj", "o_proj"),
    ),
)
