"""Salesforce's BLIP models."""

from __future__ import annotations

from swiftrl.models.layer_names import FAIRSEQ, FAIRSEQ_GROUPS
from swiftrl.models.spec import ModelSpec, Towers, only_huggingface, same_ids

__all__ = ["SPECS"]

SPECS = (
    ModelSpec(
        name="blip",
        architectures=("BlipForConditionalGeneration",),
        hub_ids=same_ids("Salesforce/blip-image-captioning-base"),
        modalities=("text", "image"),
        lora_targets=("query", "key", "value", "dense"),
        towers=Towers(vision=("vision_model",)),
        capabilities=("base",),
    ),
    ModelSpec(
        name="blip2",
        architectures=("Blip2ForConditionalGeneration",),
        hub_ids=only_huggingface("Salesforce/blip2-opt-2.7b", "Salesforce/blip2-opt-6.7b"),
        modalities=("text", "image"),
        lora_targets=FAIRSEQ,
        towers=Towers(vision=("vision_model", "qformer"), aligner=("language_projection",)),
        capabilities=("base",),
        quant_groups=FAIRSEQ_GROUPS,
    ),
    ModelSpec(
        name="instructblip",
        architectures=("InstructBlipForConditionalGeneration",),
        hub_ids=only_huggingface(
            "Salesforce/instructblip-flan-t5-xl", "Salesforce/instructblip-vicuna-7b"
        ),
        modalities=("text", "image"),
        lora_targets=FAIRSEQ,
        towers=Towers(vision=("vision_model", "qformer"), aligner=("language_projection",)),
        quant_groups=FAIRSEQ_GROUPS,
    ),
)
