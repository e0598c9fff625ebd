"""Baichuan models, whose code is not in transformers."""

from __future__ import annotations

from swiftrl.models.spec import HubId, Markers, ModelSpec, same_ids

__all__ = ["SPECS"]

SPECS = (
    ModelSpec(
        name="baichuan",
        architectures=("BaichuanForCausalLM", "BaiChuanForCausalLM"),
        hub_ids=same_ids(
            "baichuan-inc/Baichuan2-7B-Chat",
            "baichuan-inc/Baichuan2-7B-Base",
            "baichuan-inc/Baichuan2-13B-Chat",
            "baichuan-inc/Baichuan2-13B-Base",
            "baichuan-inc/Baichuan2-7B-Chat-4bits",
            "baichuan-inc/Baichuan2-13B-Chat-4bits",
        ),
        template="baichuan",
        capabilities=("base", "chat"),
    ),
    ModelSpec(
        name="baichuan1",
        architectures=("BaichuanForCausalLM", "BaiChuanForCausalLM"),
        hub_ids=(
            *same_ids("baichuan-inc/Baichuan-13B-Chat", "baichuan-inc/Baichuan-13B-Base"),
            HubId("baichuan-inc/baichuan-7B", "baichuan-inc/Baichuan-7B"),
        ),
        template="baichuan1",
        markers=Markers(config={"vocab_size": (64000,)}),
        capabilities=("base", "chat"),
    ),
    ModelSpec(
        name="baichuan_m1",
        architectures=("BaichuanM1ForCausalLM",),
        hub_ids=same_ids("baichuan-inc/Baichuan-M1-14B-Instruct"),
    ),
)
