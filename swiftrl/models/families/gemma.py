"""Google's Gemma models."""

from swiftrl.models.spec import HubId, ModelSpec, Towers

_LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")

SPECS = (
    ModelSpec(
        name="gemma2",
        architectures=("Gemma2ForCausalLM",),
        hub_ids=(
            HubId("LLM-Research/gemma-2-2b-it", "google/gemma-2-2b-it"),
            HubId("LLM-Research/gemma-2-9b-it", "google/gemma-2-9b-it"),
        ),
        stop_tokens=("<end_of_turn>",),
        lora_targets=_LINEAR,
    ),
    ModelSpec(
        name="gemma3_text",
        architectures=("Gemma3ForCausalLM",),
        hub_ids=(HubId("LLM-Research/gemma-3-1b-it", "google/gemma-3-1b-it"),),
        stop_tokens=("<end_of_turn>",),
        lora_targets=_LINEAR,
        min_transformers="4.50.0",
    ),
    ModelSpec(
        name="gemma3",
        architectures=("Gemma3ForConditionalGeneration",),
        hub_ids=(
            HubId("LLM-Research/gemma-3-4b-it", "google/gemma-3-4b-it"),
            HubId("LLM-Research/gemma-3-12b-it", "google/gemma-3-12b-it"),
        ),
        modalities=("text", "image"),
        stop_tokens=("<end_of_turn>",),
        lora_targets=_LINEAR,
        towers=Towers(vision=("vision_tower",), aligner=("multi_modal_projector",)),
        min_transformers="4.50.0",
    ),
)
