"""Settings of training in several processes."""

from __future__ import annotations

from dataclasses import dataclass

from swiftrl.core.config import setting

__all__ = ["ParallelConfig"]


@dataclass(frozen=True)
class ParallelConfig:
    """Several processes."""

    fsdp: str | None = setting(
        None, "Shard weights, gradients and optimizer: fsdp2, or a JSON file of its settings."
    )
    deepspeed: str | None = setting(
        None, "DeepSpeed: zero1, zero2, zero3, zero2_offload, zero3_offload, or a JSON file."
    )
