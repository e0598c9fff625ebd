"""BigCode's, BigScience's and Salesforce's text models."""

from __future__ import annotations

from swiftrl.models.layer_names import NEOX, NEOX_GROUPS
from swiftrl.models.spec import HubId, ModelSpec, only_huggingface

__all__ = ["SPECS"]

SPECS = (
    ModelSpec(
        name="gpt_bigcode",
        architectures=("GPTBigCodeForCausalLM",),
        hub_ids=only_huggingface(
            "bigcode/starcoder",
            "bigcode/gpt_bigcode-santacoder",
            "WizardLM/WizardCoder-15B-V1.0",
            "bigcode/tiny_starcoder_py",
            "bigcode/starcoderbase-7b",
        ),
        lora_targets=("c_attn", "c_proj", "c_fc"),
        capabilities=("base", "chat"),
    ),
    ModelSpec(
        name="starcoder2",
        architectures=("Starcoder2ForCausalLM",),
        hub_ids=(
            HubId("AI-ModelScope/starcoder2-3b", "bigcode/starcoder2-3b"),
            HubId("AI-ModelScope/starcoder2-7b", "bigcode/starcoder2-7b"),
            HubId("AI-ModelScope/starcoder2-15b", "bigcode/starcoder2-15b"),
            *only_huggingface("bigcode/starcoder2-15b-instruct-v0.1"),
        ),
        lora_targets=("q_proj", "k_proj", "v_proj", "o_proj", "c_fc", "c_proj"),
        min_transformers="4.39.0",
        capabilities=("base",),
        quant_groups=(("q_proj", "k_proj", "v_proj"), ("o_proj",), ("c_fc",), ("c_proj",)),
    ),
    ModelSpec(
        name="bloom",
        architectures=("BloomForCausalLM",),
        hub_ids=(
            *only_huggingface("bigscience/bloom", "bigscience/bloomz", "bigscience/bloomz-1b1"),
            HubId("AI-ModelScope/bloom-560m", "bigscience/bloom-560m"),
            HubId("AI-ModelScope/bloom-3b", "bigscience/bloom-3b"),
            HubId("AI-ModelScope/bloom-7b1", "bigscience/bloom-7b1"),
            HubId("AI-ModelScope/bloomz-560m", "bigscience/bloomz-560m"),
            HubId("AI-ModelScope/bloomz-3b", "bigscience/bloomz-3b"),
            HubId("AI-ModelScope/bloomz-7b1-mt", "bigscience/bloomz-7b1-mt"),
            HubId("damo/nlp_seqgpt-560m", "DAMO-NLP/SeqGPT-560M"),
        ),
        lora_targets=NEOX,
        capabilities=("base",),
        quant_groups=NEOX_GROUPS,
    ),
    ModelSpec(
        name="codegen",
        architectures=("CodeGenForCausalLM",),
        hub_ids=only_huggingface("Salesforce/codegen-2B-mono", "Salesforce/codegen-350M-mono"),
        lora_targets=("qkv_proj", "out_proj", "fc_in", "fc_out"),
        capabilities=("base",),
    ),
)
