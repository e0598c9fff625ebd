"""Recurrent and hybrid models of several makers."""

from __future__ import annotations

from swiftrl.models.spec import HubId, ModelSpec, same_ids

__all__ = ["SPECS"]

SPECS = (
    ModelSpec(
        name="mamba",
        architectures=("MambaForCausalLM",),
        hub_ids=(
            HubId("AI-ModelScope/mamba-130m-hf", "state-spaces/mamba-130m-hf"),
            HubId("AI-ModelScope/mamba-370m-hf", "state-spaces/mamba-370m-hf"),
            HubId("AI-ModelScope/mamba-390m-hf", "state-spaces/mamba-390m-hf"),
            HubId("AI-ModelScope/mamba-790m-hf", "state-spaces/mamba-790m-hf"),
            HubId("AI-ModelScope/mamba-1.4b-hf", "state-spaces/mamba-1.4b-hf"),
            HubId("AI-ModelScope/mamba-2.8b-hf", "state-spaces/mamba-2.8b-hf"),
        ),
        lora_targets=("in_proj", "x_proj"),
        min_transformers="4.39.0",
        capabilities=("base",),
        quant_groups=(("in_proj",), ("x_proj",), ("out_proj",)),
    ),
    ModelSpec(
        name="rwkv",
        architectures=("RwkvForCausalLM",),
        hub_ids=same_ids("RWKV/rwkv-4-169m-pile"),
        lora_targets=("key", "value", "receptance", "output"),
        capabilities=("base",),
    ),
    ModelSpec(
        name="xlstm",
        architectures=("xLSTMForCausalLM",),
        hub_ids=same_ids("NX-AI/xLSTM-7b"),
        lora_targets=(
            "q",
            "k",
            "v",
            "ogate_preact",
            "igate_preact",
            "fgate_preact",
            "out_proj",
            "proj_up_gate",
            "proj_up",
            "proj_down",
        ),
        capabilities=("base",),
    ),
    ModelSpec(
        name="jamba",
        architectures=("JambaForCausalLM",),
        hub_ids=(
            *same_ids("ai21labs/AI21-Jamba-1.5-Large", "ai21labs/AI21-Jamba-1.5-Mini"),
            HubId("AI-ModelScope/Jamba-v0.1", "ai21labs/Jamba-v0.1"),
        ),
        lora_targets=(
            "in_proj",
            "x_proj",
            "gate_proj",
            "up_proj",
            "down_proj",
            "q_proj",
            "k_proj",
            "v_proj",
            "o_proj",
        ),
        min_transformers="4.40.0",
        capabilities=("base", "chat", "tools"),
    ),
    ModelSpec(
        name="zamba",
        architectures=("ZambaForCausalLM",),
        hub_ids=same_ids("Zyphra/Zamba-7B-v1"),
        lora_targets=(
            "in_proj",
            "out_proj",
            "q_proj",
            "k_proj",
            "v_proj",
            "o_proj",
            "gate_proj",
            "up_proj",
            "down_proj",
            "linear",
        ),
        capabilities=("base",),
    ),
    ModelSpec(
        name="zamba2",
        architectures=("Zamba2ForCausalLM",),
        hub_ids=same_ids(
            "Zyphra/Zamba2-7B-instruct",
            "Zyphra/Zamba2-2.7B-instruct",
            "Zyphra/Zamba2-1.2B-instruct",
            "Zyphra/Zamba2-2.7B",
        ),
        lora_targets=(
            "q_proj",
            "k_proj",
            "v_proj",
            "o_proj",
            "in_proj",
            "out_proj",
            "gate_up_proj",
            "down_proj",
        ),
        capabilities=("base", "chat"),
    ),
    ModelSpec(
        name="zaya",
        architectures=("ZayaForCausalLM",),
        hub_ids=same_ids("Zyphra/ZAYA1-8B"),
        lora_targets=(
            "o_proj",
            "q_proj",
            "k_proj",
            "v_proj_current",
            "v_proj_delayed",
            "down_proj",
            "fc1",
            "fc2",
            "out_proj",
        ),
        min_transformers="5.13.0",
        capabilities=("chat", "reasoning"),
    ),
)
