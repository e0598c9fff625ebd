"""Settings of `swiftrl plan`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from swiftrl.core.config import setting

__all__ = ["PlanConfig"]


@dataclass(frozen=True)
class PlanConfig:
    """Plan."""

    command: str = setting(
        "rlhf",
        "What is planned; it may stand first, without the flag (swiftrl plan sft ...).",
        choices=("rlhf", "sft", "pt"),
    )
    model_shape: dict[str, Any] = setting(
        {},
        "Fields of config.json, as JSON, instead of the model's: "
        '{"model_type": "llama", "hidden_size": 8192, ...}. All of them where no --model is given.',
    )
    device_memory: str | None = setting(
        None, "Memory of a device, e.g. 48GiB. Unset: of the one that is here."
    )
    processes: int | None = setting(
        None, "Processes that share the work. Unset: NPROC_PER_NODE x NNODES, as when training."
    )
    prompt_tokens: int | None = setting(
        None, "Tokens of a prompt. Unset: as in --dataset, or half of --max_length."
    )
    reply_tokens: int | None = setting(
        None, "Tokens of a reply. Unset: as in --dataset, or the rest of --max_length."
    )
    picture_patches: int = setting(
        0, "Patches of a row's pictures; matters where the picture encoder trains."
    )
    num_rows: int | None = setting(None, "Rows of the data, for the number of steps.")
    group_size: int | None = setting(
        None,
        "Weights under one scale, with --quant_method gptq or awq: a model that is yet to be "
        "exported so. Unset: 128.",
    )
    json: bool = setting(False, "Print the plan as JSON.")
