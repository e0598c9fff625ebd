"""DeepSeek models whose code is not in transformers: known by name, not loadable without it."""

from __future__ import annotations

from swiftrl.models.spec import Markers, ModelSpec, same_ids

__all__ = ["SPECS"]

SPECS = (
    ModelSpec(
        name="deepseek",
        architectures=("DeepseekForCausalLM",),
        hub_ids=same_ids("deepseek-ai/deepseek-moe-16b-chat", "deepseek-ai/deepseek-moe-16b-base"),
        template="deepseek",
        capabilities=("base", "chat"),
    ),
    ModelSpec(
        name="deepseek_v41",
        architectures=("DeepseekV41ForCausalLM",),
        hub_ids=same_ids("deepseek-ai/DeepSeek-V4.1-Flash"),
        modalities=("text", "image"),
    ),
    ModelSpec(
        name="deepseek_vl",
        architectures=("MultiModalityCausalLM",),
        hub_ids=same_ids("deepseek-ai/deepseek-vl-1.3b-chat", "deepseek-ai/deepseek-vl-7b-chat"),
        modalities=("text", "image"),
    ),
    ModelSpec(
        name="janus_multi_modality",
        architectures=("MultiModalityCausalLM",),
        hub_ids=same_ids(
            "deepseek-ai/Janus-1.3B", "deepseek-ai/Janus-Pro-1B", "deepseek-ai/Janus-Pro-7B"
        ),
        modalities=("text", "image"),
        markers=Markers(names=("janus",)),
    ),
    ModelSpec(
        name="deepseek_ocr",
        architectures=("DeepseekOCRForCausalLM",),
        hub_ids=same_ids("deepseek-ai/DeepSeek-OCR"),
        modalities=("text", "image"),
    ),
    ModelSpec(
        name="deepseek_ocr2",
        architectures=("DeepseekOCR2ForCausalLM",),
        hub_ids=same_ids("deepseek-ai/DeepSeek-OCR-2"),
        modalities=("text", "image"),
    ),
    ModelSpec(
        name="deepseek_vl2",
        architectures=("DeepseekVLV2ForCausalLM",),
        hub_ids=same_ids(
            "deepseek-ai/deepseek-vl2-tiny",
            "deepseek-ai/deepseek-vl2-small",
            "deepseek-ai/deepseek-vl2",
        ),
        modalities=("text", "image"),
    ),
)
