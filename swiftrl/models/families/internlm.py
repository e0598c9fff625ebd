"""Shanghai AI Laboratory's models that transformers implements."""

from swiftrl.models.spec import HubId, ModelSpec, Towers

_LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")

SPECS = (
    ModelSpec(
        name="internvl",
        architectures=("InternVLForConditionalGeneration",),
        hub_ids=(
            HubId("OpenGVLab/InternVL3-1B-hf"),
            HubId("OpenGVLab/InternVL3-8B-hf"),
        ),
        modalities=("text", "image", "video"),
        stop_tokens=("<|im_end|>",),
        lora_targets=_LINEAR,
        towers=Towers(vision=("vision_tower",), aligner=("multi_modal_projector",)),
        min_transformers="4.52.1",
    ),
)
