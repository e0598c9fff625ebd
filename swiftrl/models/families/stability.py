"""Stability AI's StableLM."""

from __future__ import annotations

from swiftrl.models.layer_names import DENSE_GROUPS, LINEAR
from swiftrl.models.spec import ModelSpec, same_ids

__all__ = ["SPECS"]

SPECS = (
    ModelSpec(
        name="stablelm",
        architectures=("StableLmForCausalLM", "StableLMEpochForCausalLM"),
        hub_ids=same_ids(
            "stabilityai/stablelm-3b-4e1t",
            "stabilityai/stablelm-base-alpha-7b-v2",
            "stabilityai/stablelm-zephyr-3b",
        ),
        template="zephyr",
        lora_targets=LINEAR,
        min_transformers="4.38.0",
        capabilities=("base", "chat"),
        quant_groups=DENSE_GROUPS,
    ),
)
