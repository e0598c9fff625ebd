"""Decoder layers compiled one by one, `--torch_compile true`.

Layers of a class share their programs. Attention over trees runs between them as it is, for its
lists of lengths change with every batch; recomputation (gradient checkpointing) goes around the
program of a layer, since a compiler gives up a checkpoint that it cannot see through.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from swiftrl.core.errors import ConfigError
from swiftrl.models.attention import Terms
from swiftrl.models.backbone import backbone_of
from swiftrl.rlhf.fused_attention import has_cache
from swiftrl.rlhf.tree_attention import AttentionKernel, Segments

__all__ = ["compile_layers", "uncompiled"]


def compile_layers(lm: Any, *, backend: str | Callable[..., Any] = "inductor") -> int:
    """Let each decoder layer of a model run compiled; its modules and their names stay.

    Args:
        lm: a model of transformers, without its adapters' wrapper; if its layers are to be
            recomputed in the backward pass, that has been switched on.
        backend: torch.compile's.

    Returns:
        how many layers there are.

    Raises:
        ConfigError: its layers are not where they usually are.
    """
    layers = getattr(backbone_of(lm).gives, "layers", None)
    if not isinstance(layers, nn.ModuleList) or not len(layers):
        raise ConfigError(
            f"--torch_compile: {type(lm).__name__} keeps its decoder layers elsewhere than in "
            "'layers'; leave it out."
        )
    programs = {
        kind: torch.compile(kind.forward, backend=backend, dynamic=True)
        for kind in {type(layer) for layer in layers}
    }
    for layer in cast(Any, layers):
        recompute = None
        if getattr(layer, "gradient_checkpointing", False):
            recompute, layer.gradient_checkpointing = layer._gradient_checkpointing_func, False
        program = programs[type(layer)]
        layer.forward = partial(_forward, layer, program=program, recompute=recompute)
    return len(layers)


def _forward(
    layer: Any,
    *args: Any,
    program: Callable[..., Any],
    recompute: Callable[..., Any] | None,
    **kwargs: Any,
) -> Any:
    if has_cache(kwargs):  # a token at a time
        return type(layer).forward(layer, *args, **kwargs)
    if recompute is not None and layer.training and torch.is_grad_enabled():
        return recompute(partial(program, layer, **kwargs), *args)
    return program(layer, *args, **kwargs)


def uncompiled(kernel: AttentionKernel) -> AttentionKernel:
    """Return a kernel that a compiled layer calls as it is; one that compiles itself still does."""

    def run(query: Tensor, key: Tensor, value: Tensor, segments: Segments, terms: Terms) -> Tensor:
        return kernel(query, key, value, segments, terms)

    return cast(AttentionKernel, torch.compiler.disable(run))
