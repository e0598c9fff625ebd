"""Limits of operators, told as a card would tell them: by an error."""

import torch
from torch import Tensor

FLOATS = (torch.float16, torch.bfloat16, torch.float32)
UNLIMITED = 2**31 - 1
"""The default of `pre_tockens` and `next_tockens`: no window."""


def require(holds: bool, operator: str, message: str) -> None:
    if not holds:
        raise RuntimeError(f"{operator}: {message}")


def on_npu(operator: str, *tensors: Tensor | None) -> None:
    for tensor in tensors:
        if tensor is not None:
            require(
                tensor.device.type == "npu",
                operator,
                f"expected npu tensors, got {tensor.device}",
            )
