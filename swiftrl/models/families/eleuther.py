"""EleutherAI's models, and others published in their architectures."""

from __future__ import annotations

from swiftrl.models.layer_names import NEOX, NEOX_GROUPS
from swiftrl.models.spec import ModelSpec, only_huggingface, same_ids

__all__ = ["SPECS"]

SPECS = (
    ModelSpec(
        name="gpt_neo",
        architectures=("GPTNeoForCausalLM",),
        hub_ids=(
            *only_huggingface("EleutherAI/gpt-neo-1.3B"),
            *same_ids("EleutherAI/gpt-neo-2.7B"),
        ),
        lora_targets=("k_proj", "v_proj", "q_proj", "out_proj", "c_fc", "c_proj"),
        capabilities=("base",),
    ),
    ModelSpec(
        name="gptj",
        architectures=("GPTJForCausalLM",),
        hub_ids=only_huggingface("EleutherAI/gpt-j-6b", "nomic-ai/gpt4all-j"),
        lora_targets=("k_proj", "v_proj", "q_proj", "out_proj", "fc_in", "fc_out"),
        capabilities=("base",),
        quant_groups=(("q_proj", "k_proj", "v_proj", "fc_in"), ("out_proj",), ("fc_out",)),
    ),
    ModelSpec(
        name="gpt_neox",
        architectures=("GPTNeoXForCausalLM",),
        hub_ids=only_huggingface(
            "EleutherAI/gpt-neox-20b",
            "EleutherAI/pythia-12b",
            "OpenAssistant/oasst-sft-4-pythia-12b-epoch-3.5",
            "databricks/dolly-v2-12b",
            "stabilityai/stablelm-tuned-alpha-7b",
            "EleutherAI/pythia-14m",
            "EleutherAI/pythia-31m",
            "EleutherAI/pythia-70m",
            "EleutherAI/pythia-160m",
            "EleutherAI/pythia-410m",
            "EleutherAI/pythia-1b",
            "EleutherAI/pythia-1.4b",
            "EleutherAI/pythia-2.8b",
            "EleutherAI/pythia-6.9b",
            "EleutherAI/pythia-70m-deduped",
            "EleutherAI/pythia-160m-deduped",
            "EleutherAI/pythia-410m-deduped",
            "EleutherAI/pythia-1b-deduped",
            "EleutherAI/pythia-1.4b-deduped",
            "EleutherAI/pythia-2.8b-deduped",
            "EleutherAI/pythia-6.9b-deduped",
            "EleutherAI/pythia-12b-deduped",
            "databricks/dolly-v2-3b",
            "databricks/dolly-v2-7b",
            "stabilityai/stablelm-base-alpha-3b",
            "stabilityai/stablelm-base-alpha-7b",
            "stabilityai/stablelm-tuned-alpha-3b",
            "togethercomputer/RedPajama-INCITE-7B-Base",
            "togethercomputer/RedPajama-INCITE-7B-Chat",
            "togethercomputer/RedPajama-INCITE-7B-Instruct",
            "togethercomputer/RedPajama-INCITE-Base-3B-v1",
            "togethercomputer/RedPajama-INCITE-Chat-3B-v1",
            "togethercomputer/RedPajama-INCITE-Instruct-3B-v1",
        ),
        lora_targets=NEOX,
        capabilities=("base", "chat"),
        quant_groups=NEOX_GROUPS,
    ),
    ModelSpec(
        name="gpt_neox_japanese",
        architectures=("GPTNeoXJapaneseForCausalLM",),
        hub_ids=only_huggingface("abeja/gpt-neox-japanese-2.7b"),
        lora_targets=NEOX,
        capabilities=("base",),
        quant_groups=NEOX_GROUPS,
    ),
)
