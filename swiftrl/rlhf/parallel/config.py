"""Settings of training in several processes."""

from __future__ import annotations

from dataclasses import dataclass

from swiftrl.core.config import setting

__all__ = ["ParallelConfig"]


@dataclass(frozen=True)
class ParallelConfig:
    """Several processes."""

    fsdp: str | None = setting(
        None, "Shard weights, gradients and optimizer: fsdp2, fsdp2_offload or a JSON file."
    )
    deepspeed: str | None = setting(
        None, "DeepSpeed's ZeRO: zero1, zero2, zero3, zero2_offload, zero3_offload, or a JSON file."
    )
    sequence_parallel_size: int = setting(
        1,
        "Processes that share each row, every one with a part of its tokens: for rows too long "
        "for one device. Divides the number of processes and the model's attention heads.",
    )
