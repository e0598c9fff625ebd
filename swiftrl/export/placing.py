"""A model too large for the device: its blocks come there one by one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from swiftrl.export.layers import Blocks

__all__ = ["placed", "streamed"]


@contextlib.contextmanager
def placed(block: nn.Module, device: torch.device) -> Iterator[None]:
    """Have a block on the device for a while, and then where it was before."""
    home = next(block.parameters()).device
    block.to(device)
    try:
        yield
    finally:
        block.to(home)


@contextlib.contextmanager
def streamed(model: Any, blocks: Blocks, device: torch.device) -> Iterator[None]:
    """Let a model on the host run on the device, each block there only while it runs.

    What is no block (embedding, head, towers) goes to the device and stays. A model that is on
    the device already is left as it is.
    """
    if model.device == device:
        yield
        return
    repeated = blocks.modules(model)
    inside = {id(p) for block in repeated for p in (*block.parameters(), *block.buffers())}
    for part in (*model.parameters(), *model.buffers()):
        if id(part) not in inside:
            part.data = part.data.to(device)
    home = next(repeated[0].parameters()).device
    handles = [
        handle
        for block in repeated
        for handle in (
            block.register_forward_pre_hook(lambda module, _: module.to(device) and None),
            block.register_forward_hook(lambda module, _, __: module.to(home) and None),
        )
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
