"""EleutherAI's models, and others published in their architectures."""

from __future__ import annotations

from swiftrl.models.layer_names import NEOX, NEOX_GROUPS
from swiftrl.models.spec import ModelSpec, same_ids

__all__ = ["SPECS"]

SPECS = (
    ModelSpec(
        name="gpt_neo",
        architectures=("GPTNeoForCausalLM",),
        hub_ids=same_ids("EleutherAI/gpt-neo-1.3B"),
        lora_targets=("k_proj", "v_proj", "q_proj", "out_proj", "c_fc", "c_proj"),
        capabilities=("base",),
    ),
    ModelSpec(
        name="gptj",
        architectures=("GPTJForCausalLM",),
        hub_ids=same_ids("EleutherAI/gpt-j-6b", "nomic-ai/gpt4all-j"),
        lora_targets=("k_proj", "v_proj", "q_proj", "out_proj", "fc_in", "fc_out"),
        capabilities=("base",),
        quant_groups=(("q_proj", "k_proj", "v_proj", "fc_in"), ("out_proj",), ("fc_out",)),
    ),
    ModelSpec(
        name="gpt_neox",
        architectures=("GPTNeoXForCausalLM",),
        hub_ids=same_ids(
            "EleutherAI/gpt-neox-20b",
            "EleutherAI/pythia-12b",
            "OpenAssistant/oasst-sft-4-pythia-12b-epoch-3.5",
            "databricks/dolly-v2-12b",
            "stabilityai/stablelm-tuned-alpha-7b",
        ),
        lora_targets=NEOX,
        capabilities=("base", "chat"),
        quant_groups=NEOX_GROUPS,
    ),
    ModelSpec(
        name="gpt_neox_japanese",
        architectures=("GPTNeoXJapaneseForCausalLM",),
        hub_ids=same_ids("abeja/gpt-neox-japanese-2.7b"),
        lora_targets=NEOX,
        capabilities=("base",),
        quant_groups=NEOX_GROUPS,
    ),
)
