"""What --deepspeed says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swiftrl.core.errors import ConfigError
from swiftrl.core.registry import did_you_mean

__all__ = ["PRESETS", "DeepspeedSettings", "read_deepspeed"]

_HOST = {"device": "cpu", "pin_memory": True}
PRESETS: dict[str, dict[str, Any]] = {
    "zero1": {"stage": 1},
    "zero2": {"stage": 2},
    "zero2_offload": {"stage": 2, "offload_optimizer": _HOST},
    "zero3": {"stage": 3},
    "zero3_offload": {"stage": 3, "offload_optimizer": _HOST, "offload_param": _HOST},
}
ELSEWHERE = {
    "gradient_clipping": "max_grad_norm",
    "gradient_accumulation_steps": "gradient_accumulation_steps",
    "train_micro_batch_size_per_gpu": "per_device_train_batch_size",
    "train_batch_size": "per_device_train_batch_size",
    "optimizer": "optim",
    "scheduler": "lr_scheduler_type",
    "bf16": "torch_dtype",
    "fp16": "torch_dtype",
}
"""Keys of DeepSpeed's files that are flags here: each may stand there with "auto" alone."""
WITHOUT_EFFECT = ("steps_per_print", "wall_clock_breakdown", "zero_allow_untested_optimizer",
                  "zero_force_ds_cpu_optimizer")  # fmt: skip


@dataclass(frozen=True, slots=True)
class DeepspeedSettings:
    """How DeepSpeed shards.

    Attributes:
        stage: what is sharded: 1 the optimizer's state, 2 gradients too, 3 weights too.
        zero: DeepSpeed's "zero_optimization".
    """

    stage: int
    zero: Mapping[str, Any]

    @property
    def offload(self) -> bool:
        """Whether something lies in the host's memory."""
        return any(f"offload_{part}" in self.zero for part in ("optimizer", "param"))


def read_deepspeed(value: str) -> DeepspeedSettings:
    """Return what --deepspeed asks for.

    Args:
        value: a name of `PRESETS`, or a JSON file of DeepSpeed's.

    Raises:
        ConfigError: it is neither, or asks for what has a flag of its own.
    """
    if value in PRESETS:
        return DeepspeedSettings(PRESETS[value]["stage"], PRESETS[value])
    path = Path(value)
    if path.suffix != ".json" and not path.is_file():
        raise ConfigError(
            f"--deepspeed {value}: expected {', '.join(PRESETS)} or a JSON file."
            + did_you_mean(value, list(PRESETS))
        )
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"--deepspeed {value}: cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise ConfigError(f"--deepspeed {value}: not JSON: {error}.") from error
    return _from_file(value, found)


def _from_file(value: str, found: Any) -> DeepspeedSettings:
    zero = found.get("zero_optimization") if isinstance(found, dict) else None
    if not isinstance(zero, dict) or zero.get("stage") not in (1, 2, 3):
        raise ConfigError(
            f'--deepspeed {value}: expected an object with "zero_optimization": {{"stage": 1, 2 '
            "or 3}."
        )
    for key, item in found.items():
        if key in ELSEWHERE and not _leaves_open(item):
            raise ConfigError(
                f'--deepspeed {value}: {key}: set by --{ELSEWHERE[key]} here; write "auto", or '
                "leave it out."
            )
        if key not in ELSEWHERE and key not in WITHOUT_EFFECT and key != "zero_optimization":
            known = [*ELSEWHERE, *WITHOUT_EFFECT, "zero_optimization"]
            raise ConfigError(
                f"--deepspeed {value}: {key}: not served; expected {', '.join(known)}."
                + did_you_mean(key, known)
            )
    return DeepspeedSettings(zero["stage"], {k: v for k, v in zero.items() if v != "auto"})


def _leaves_open(item: Any) -> bool:
    """Say whether a value, or all within an object, leave it to the flag."""
    if isinstance(item, dict):
        # What shapes a loss scale in 16 bits has no use: ours is not DeepSpeed's.
        return item.get("enabled", "auto") in ("auto", False) and (
            "enabled" in item or all(map(_leaves_open, item.values()))
        )
    return item == "auto"
