"""The last decoder layer, on the tokens whose hidden state is read.

Behind its attention a decoder layer works token by token. In the last one only the tokens that
predict a trained token are read, so that the prompt can be left out of its MLP, and need not ask
in its attention.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from torch import Tensor, nn

from swiftrl.rlhf.fused import restore
from swiftrl.rlhf.tree_attention import SEGMENTS

__all__ = ["shorten_last_layer", "whole_last_layer"]

_PARTS = {"input_layernorm", "self_attn", "post_attention_layernorm", "mlp"}


def _forward(layer: Any, hidden_states: Tensor, **kwargs: Any) -> Tensor:
    rows = kwargs[SEGMENTS].read_rows if SEGMENTS in kwargs else None
    if rows is None:
        return type(layer).forward(layer, hidden_states, **kwargs)
    kwargs[SEGMENTS] = replace(kwargs[SEGMENTS], last=True)
    attended, _ = layer.self_attn(hidden_states=layer.input_layernorm(hidden_states), **kwargs)
    x = (hidden_states + attended).index_select(1, rows)
    return x + layer.mlp(layer.post_attention_layernorm(x))


def shorten_last_layer(backbone: nn.Module) -> bool:
    """Let the last layer of `backbone` leave out what `Segments.read_rows` leaves out.

    The caller must check the values: only the names of the layer's parts are looked at here.

    Returns:
        False if the layer is not made of the usual four parts.
    """
    layers = getattr(backbone, "layers", None)
    if not isinstance(layers, nn.ModuleList) or not len(layers):
        return False
    last = layers[-1]
    if {name for name, _ in last.named_children()} != _PARTS or "forward" in last.__dict__:
        return False
    last.forward = partial(_forward, last)
    return True


def whole_last_layer(backbone: nn.Module) -> None:
    """Undo `shorten_last_layer`."""
    restore(backbone, (_forward,))
