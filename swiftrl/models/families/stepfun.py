"""StepFun's models."""

from __future__ import annotations

from swiftrl.models.layer_names import DENSE_GROUPS, LINEAR
from swiftrl.models.spec import ModelSpec, Towers, same_ids

__all__ = ["SPECS"]

SPECS = (
    ModelSpec(
        name="step3p7",
        architectures=("Step3p7ForConditionalGeneration",),
        hub_ids=same_ids("stepfun-ai/Step-3.7-Flash"),
        modalities=("text", "image"),
        lora_targets=(
            "q_proj",
            "k_proj",
            "v_proj",
            "o_proj",
            "g_proj",
            "gate_proj",
            "up_proj",
            "down_proj",
        ),
        towers=Towers(vision=("vision_model",), aligner=("multi_modal_projector",)),
        min_transformers="5.16.0",
        reasoning="think",
        capabilities=("chat", "tools", "reasoning"),
    ),
    ModelSpec(
        name="got_ocr2_hf",
        architectures=("GotOcr2ForConditionalGeneration",),
        hub_ids=same_ids("stepfun-ai/GOT-OCR-2.0-hf"),
        modalities=("text", "image"),
        stop_tokens=("<|im_end|>",),
        lora_targets=LINEAR,
        towers=Towers(vision=("vision_tower",), aligner=("multi_modal_projector",)),
        quant_groups=DENSE_GROUPS,
    ),
    ModelSpec(
        name="got_ocr2",
        architectures=("GOTQwenForCausalLM",),
        hub_ids=same_ids("stepfun-ai/GOT-OCR2_0"),
        modalities=("text", "image"),
        stop_tokens=("<|im_end|>",),
    ),
    ModelSpec(
        name="step_audio",
        architectures=("Step1ForCausalLM",),
        hub_ids=same_ids("stepfun-ai/Step-Audio-EditX", "stepfun-ai/Step-Audio-Chat"),
        modalities=("text", "audio"),
    ),
    ModelSpec(
        name="step_audio2_mini",
        architectures=("StepAudio2ForCausalLM",),
        hub_ids=same_ids("stepfun-ai/Step-Audio-2-mini"),
        modalities=("text", "audio"),
    ),
    ModelSpec(
        name="step3_vl",
        architectures=("StepVLForConditionalGeneration",),
        hub_ids=same_ids("stepfun-ai/Step3-VL-10B-Base", "stepfun-ai/Step3-VL-10B"),
        modalities=("text", "image"),
        capabilities=("base", "chat"),
    ),
    ModelSpec(
        name="step3",
        architectures=("Step3VLForConditionalGeneration",),
        hub_ids=same_ids("stepfun-ai/step3"),
        modalities=("text", "image"),
    ),
    ModelSpec(
        name="step3p5",
        architectures=("Step3p5ForCausalLM",),
        hub_ids=same_ids("stepfun-ai/Step-3.5-Flash"),
        tool_syntax="qwen3_coder",
        reasoning="think",
        capabilities=("chat", "tools", "reasoning"),
    ),
)
