"""Falcon models of the Technology Innovation Institute."""

from __future__ import annotations

from swiftrl.models.layer_names import NEOX, NEOX_GROUPS
from swiftrl.models.spec import HubId, ModelSpec, only_huggingface, same_ids

__all__ = ["SPECS"]

SPECS = (
    ModelSpec(
        name="falcon",
        architectures=("FalconForCausalLM", "RWForCausalLM"),
        hub_ids=(
            *same_ids("tiiuae/falcon-11B"),
            *only_huggingface("tiiuae/falcon-rw-7b"),
            HubId("AI-ModelScope/falcon-7b", "tiiuae/falcon-7b"),
            HubId("AI-ModelScope/falcon-40b", "tiiuae/falcon-40b"),
            HubId("modelscope/falcon-180B", "tiiuae/falcon-180B"),
            HubId("AI-ModelScope/falcon-7b-instruct", "tiiuae/falcon-7b-instruct"),
            HubId("AI-ModelScope/falcon-40b-instruct", "tiiuae/falcon-40b-instruct"),
            HubId("modelscope/falcon-180B-chat", "tiiuae/falcon-180B-chat"),
        ),
        template="falcon",
        lora_targets=NEOX,
        min_transformers="4.33.0",
        capabilities=("base", "chat"),
        quant_groups=NEOX_GROUPS,
    ),
    ModelSpec(
        name="falcon_mamba",
        architectures=("FalconMambaForCausalLM",),
        hub_ids=only_huggingface("tiiuae/falcon-mamba-7b", "tiiuae/falcon-mamba-7b-instruct"),
        template="chatml",
        stop_tokens=("<|im_end|>",),
        lora_targets=("in_proj", "x_proj"),
        min_transformers="4.45.0",
        capabilities=("base", "chat"),
        quant_groups=(("in_proj",), ("x_proj",), ("out_proj",)),
    ),
    ModelSpec(
        name="falcon_h1",
        architectures=("FalconH1ForCausalLM",),
        hub_ids=same_ids(
            "tiiuae/Falcon-H1-34B-Base",
            "tiiuae/Falcon-H1-34B-Instruct",
            "tiiuae/Falcon-H1-1.5B-Deep-Instruct",
            "tiiuae/Falcon-H1-0.5B-Base",
            "tiiuae/Falcon-H1-0.5B-Instruct",
            "tiiuae/Falcon-H1-1.5B-Base",
            "tiiuae/Falcon-H1-1.5B-Instruct",
            "tiiuae/Falcon-H1-1.5B-Deep-Base",
            "tiiuae/Falcon-H1-3B-Base",
            "tiiuae/Falcon-H1-3B-Instruct",
            "tiiuae/Falcon-H1-7B-Base",
            "tiiuae/Falcon-H1-7B-Instruct",
        ),
        template="chatml",
        stop_tokens=("<|im_end|>",),
        lora_targets=(
            "gate_proj",
            "up_proj",
            "down_proj",
            "in_proj",
            "q_proj",
            "k_proj",
            "v_proj",
            "o_proj",
        ),
        min_transformers="4.53.0",
        capabilities=("base", "chat"),
    ),
)
