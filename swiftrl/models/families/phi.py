"""Microsoft's Phi models."""

from swiftrl.models.spec import HubId, ModelSpec

SPECS = (
    ModelSpec(
        name="phi3",
        architectures=("Phi3ForCausalLM",),
        hub_ids=(
            HubId("LLM-Research/Phi-3-mini-4k-instruct", "microsoft/Phi-3-mini-4k-instruct"),
            HubId("LLM-Research/Phi-4-mini-instruct", "microsoft/Phi-4-mini-instruct"),
            HubId("LLM-Research/phi-4", "microsoft/phi-4"),
        ),
        stop_tokens=("<|end|>",),
        lora_targets=("qkv_proj", "o_proj", "gate_up_proj", "down_proj"),
    ),
)
