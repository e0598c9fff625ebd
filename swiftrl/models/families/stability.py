"""Stability AI's StableLM."""

from __future__ import annotations

from swiftrl.models.layer_names import DENSE_GROUPS, LINEAR
from swiftrl.models.spec import ModelSpec, only_huggingface

__all__ = ["SPECS"]

SPECS = (
    ModelSpec(
        name="stablelm",
        architectures=("StableLmForCausalLM", "StableLMEpochForCausalLM"),
        hub_ids=only_huggingface(
            "stabilityai/stablelm-3b-4e1t",
            "stabilityai/stablelm-base-alpha-7b-v2",
            "stabilityai/stablelm-zephyr-3b",
            "stabilityai/stablelm-2-1_6b",
            "stabilityai/stablelm-2-12b",
            "stabilityai/stable-code-3b",
        ),
        template="zephyr",
        lora_targets=LINEAR,
        min_transformers="4.38.0",
        capabilities=("base", "chat"),
        quant_groups=DENSE_GROUPS,
    ),
)
