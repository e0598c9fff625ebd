"""What every attention of ours shares: the terms of a call, the plain kernel, the mask's stand-in.

transformers asks its registries for an attention function and a mask function by one name. Ours
know who sees whom without a mask; all they need of it is whether a layer sees a window.

Shapes: H query heads, K key-value heads, D head width, q queries, s keys.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from swiftrl.core.errors import ModelError

__all__ = [
    "Terms",
    "Window",
    "attend",
    "mask_stand_in",
    "register_attention",
    "terms_of",
    "use_attention",
]

_REFUSED = ("position_bias", "cache", "head_mask", "block_mask")


@dataclass(frozen=True, slots=True)
class Terms:
    """How scores become weights.

    Attributes:
        scaling: factor on the scores.
        window: keys a query sees at most, itself included; None is all.
        soft_cap: scores become cap * tanh(score / cap) (Gemma 2, arXiv:2408.00118); None is off.
        sinks: [H] scores of a key without a value that every query sees (gpt-oss); None is off.
        dropout: probability of dropping a weight.
    """

    scaling: float
    window: int | None = None
    soft_cap: float | None = None
    sinks: Tensor | None = None
    dropout: float = 0.0


@dataclass(frozen=True, slots=True)
class Window:
    """Stands in the mask's place for layers that see a window."""

    tokens: int


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, terms: Terms) -> Tensor:
    """Map query [B, H, q, D] and key, value [B, K, s, D] to [B, H, q, D].

    Args:
        query: of the tokens that look.
        key: of those looked at.
        value: the same.
        mask: [..., q, s] added to the scores; None is plainly causal, with q = s.
        terms: how scores become weights. Sinks are [H], or of a shape that joins [B, H, q, 1].
    """
    plain = terms.soft_cap is None and terms.sinks is None
    return (_by_torch if plain else _score_by_score)(query, key, value, mask, terms)


def _by_torch(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, terms: Terms
) -> Tensor:
    return F.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=mask,
        is_causal=mask is None,
        dropout_p=terms.dropout,
        scale=terms.scaling,
        enable_gqa=query.shape[1] != key.shape[1],
    )


def _score_by_score(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, terms: Terms
) -> Tensor:
    """Score by score in float32, for soft caps and sinks: scaled_dot_product_attention has none."""
    repeats = query.shape[1] // key.shape[1]
    if repeats > 1:
        key, value = key.repeat_interleave(repeats, 1), value.repeat_interleave(repeats, 1)
    scores = (query @ key.transpose(-1, -2)).float() * terms.scaling
    if terms.soft_cap is not None:
        scores = torch.tanh(scores / terms.soft_cap) * terms.soft_cap
    if mask is None:
        mask = scores.new_full(scores.shape[-2:], float("-inf")).triu_(1)
    scores = scores + mask
    if terms.sinks is not None:
        sinks = terms.sinks.float()
        sinks = sinks.view(1, -1, 1, 1) if sinks.ndim == 1 else sinks
        sinks = sinks.expand(*scores.shape[:-1], 1)
        weights = torch.cat([scores, sinks], dim=-1).softmax(dim=-1)[..., :-1]
    else:
        weights = scores.softmax(dim=-1)
    return F.dropout(weights, terms.dropout).to(value.dtype) @ value


def mask_stand_in(
    *,
    config: Any = None,
    local_size: int | None = None,
    use_vmap: bool = False,
    allow_is_bidirectional_skip: bool | None = None,
    **_: Any,
) -> Window | None:
    """Say, where transformers asks for a mask, whether a layer sees a window.

    Raises:
        ModelError: the model wants a mask that is not causal, or windows of another kind.
    """
    window = getattr(config, "sliding_window", None)
    special = use_vmap or allow_is_bidirectional_skip is not None
    if special or (local_size is not None and local_size != window):
        raise ModelError(
            f"{getattr(config, 'model_type', 'the model')} masks its attention in a way that this "
            "attention does not know. Use --layout rows."
        )
    return None if local_size is None else Window(local_size)


def terms_of(
    module: nn.Module,
    query: Tensor,
    window: Window | Tensor | None,
    given: Mapping[str, Any],
) -> Terms:
    """Return the terms of one call that transformers makes of an attention function.

    The window is the mask's, not the keyword's: the rows layout obeys the mask alone.

    Args:
        module: the attention layer.
        query: [B, H, q, D]
        window: what the mask function gave.
        given: all keyword arguments of the call.

    Raises:
        ModelError: the model asks for a term that is unknown here.
    """
    refused = [term for term in _REFUSED if given.get(term) is not None]
    if refused or not (window is None or isinstance(window, Window)):
        found = ", ".join(refused) or "attention mask of a model's own"
        raise ModelError(f"{type(module).__name__}: this attention knows no {found}.")
    scaling = given.get("scaling")
    return Terms(
        scaling=query.shape[-1] ** -0.5 if scaling is None else scaling,
        window=None if window is None else window.tokens,
        soft_cap=given.get("softcap"),
        sinks=given.get("s_aux"),
        dropout=given.get("dropout", 0.0),
    )


def register_attention(name: str, function: Callable[..., Any]) -> None:
    """Enter an attention in transformers' registries; repeating it is harmless."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface

    known: Mapping[str, Any] = AttentionInterface._global_mapping
    if name not in known:
        AttentionInterface.register(name, function)
        AttentionMaskInterface.register(name, mask_stand_in)


def use_attention(config: Any, name: str | None) -> None:
    """Give a language model's configuration an attention, and leave its encoders theirs.

    A configuration hands what it is given down to those within, an encoder's for example.
    """
    parts = [getattr(config, part, None) for part in config.sub_configs]
    before = [(part, part._attn_implementation) for part in parts if part is not None]
    config._attn_implementation = name
    for part, own in before:
        part._attn_implementation = own
