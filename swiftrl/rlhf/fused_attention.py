"""Attention modules that turn queries and keys by a kernel of the hardware.

An attention module of the usual make is four linear layers, perhaps norms of the heads, and a
rotation; what comes after is transformers' attention registry, which `tree_attention` serves. The
forward here hands the registry what the module's own hands it: that is compared, before it is
taken.

Shapes: B rows, T tokens, H query heads, K key-value heads, D head width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from swiftrl.models.attention import use_attention
from swiftrl.rlhf.trials import FAILURES, close, sample

__all__ = ["has_cache", "rotary_forward", "with_rotary"]

Rotary = Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]

_CACHES = ("past_key_values", "past_key_value", "cache")
_OUTPUTS = ("o_proj", "dense", "out_proj")
_TRIAL = "swiftrl_trial"


def rotary_forward(
    module: Any,
    hidden_states: Tensor,
    *args: Any,
    rotary: Rotary,
    output: str,
    constants: Mapping[str, Any],
    parameters: Mapping[str, str],
    position_embeddings: tuple[Tensor, Tensor] | None = None,
    attention_mask: Any = None,
    **kwargs: Any,
) -> Any:
    """Run an attention module, the rotation by `rotary`; with a cache, run its own forward.

    Args:
        module: the attention module.
        hidden_states: [B, T, width].
        *args: makes it the module's own forward.
        rotary: turns [B, H, T, D] and [B, K, T, D] by cosine and sine [B, T, D].
        output: name of the last linear layer.
        constants: keywords of the registry's function that never change.
        parameters: keywords of it, and which of the module's parameters they get.
        position_embeddings: cosine and sine.
        attention_mask: what the registry's masks gave.
        **kwargs: handed down.
    """
    attend = _registered(module.config._attn_implementation)
    if args or has_cache(kwargs) or attend is None or position_embeddings is None:
        kwargs.update(position_embeddings=position_embeddings, attention_mask=attention_mask)
        return type(module).forward(module, hidden_states, *args, **kwargs)
    shape = (*hidden_states.shape[:-1], -1, module.head_dim)
    query, key, value = (
        layer(hidden_states).view(shape) for layer in (module.q_proj, module.k_proj, module.v_proj)
    )
    if hasattr(module, "q_norm"):
        query, key = module.q_norm(query), module.k_norm(key)
    query, key = _turned(query.transpose(1, 2), key.transpose(1, 2), *position_embeddings, rotary)
    found, weights = attend(
        module,
        query,
        key,
        value.transpose(1, 2),
        attention_mask,
        dropout=module.attention_dropout if module.training else 0.0,
        **constants,
        **{name: getattr(module, parameter) for name, parameter in parameters.items()},
        **{name: given for name, given in kwargs.items() if name not in _CACHES},
    )
    found = found.reshape(*hidden_states.shape[:-1], -1).contiguous()
    return getattr(module, output)(found), weights


def has_cache(kwargs: Mapping[str, Any]) -> bool:
    """Whether a layer is called with keys and values of earlier tokens."""
    return any(kwargs.get(name) is not None for name in _CACHES)


def _turned(
    query: Tensor, key: Tensor, cos: Tensor, sin: Tensor, rotary: Rotary
) -> tuple[Tensor, Tensor]:
    width = cos.shape[-1]
    if width == query.shape[-1]:
        return rotary(query, key, cos, sin)
    turned = rotary(query[..., :width], key[..., :width], cos, sin)
    query, key = (
        torch.cat((part, whole[..., width:].to(part.dtype)), dim=-1)
        for part, whole in zip(turned, (query, key), strict=True)
    )
    return query, key


def _registered(name: str) -> Callable[..., Any] | None:
    from transformers import AttentionInterface

    known: Mapping[str, Any] = AttentionInterface._global_mapping
    return known.get(name)


def with_rotary(module: Any, rotary: Rotary) -> Callable[..., Any] | None:
    """Return `module`'s forward with the rotation by `rotary`, or None where it is of other make.

    Args:
        module: any module; its projections may carry adapters.
        rotary: the kernel.
    """
    wanted = ("q_proj", "k_proj", "v_proj", "head_dim", "config", "attention_dropout")
    output = next((name for name in _OUTPUTS if hasattr(module, name)), None)
    inputs = getattr(getattr(module, "q_proj", None), "in_features", None)
    if output is None or inputs is None or not all(hasattr(module, name) for name in wanted):
        return None
    weight = next(module.parameters())
    arguments = {
        "hidden_states": sample(1, 5, inputs, like=weight),
        "position_embeddings": _angles(module, weight),
        "attention_mask": None,
        "position_ids": torch.arange(5, device=weight.device)[None],
    }
    training = module.training
    module.eval()
    try:
        with torch.no_grad(), _recording(module.config) as calls:
            expected = module(**arguments)[0]
            constants, parameters = _terms(module, calls[0][2], arguments)
            candidate = partial(
                rotary_forward,
                module,
                rotary=rotary,
                output=output,
                constants=constants,
                parameters=parameters,
            )
            found = candidate(**arguments)[0]
            same = close(found, expected, weight.dtype) and _same(calls[0], calls[1], weight.dtype)
    except FAILURES:
        return None
    finally:
        module.train(training)
    return candidate if same else None


def _angles(module: Any, like: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and sine [1, 5, width] of angles that differ from token to token."""
    rope: Any = getattr(module.config, "rope_parameters", None) or {}
    # Families with several kinds of layers have one set of parameters each.
    share = rope.get("partial_rotary_factor", 1.0) if "rope_type" in rope else 1.0
    half = int(module.head_dim * share) // 2
    rate = 10000 ** -(torch.arange(half) / max(half, 1))
    angle = torch.arange(1, 6)[:, None] * rate
    angle = torch.cat((angle, angle), dim=-1)[None]
    return angle.cos().to(like.device, like.dtype), angle.sin().to(like.device, like.dtype)


def _terms(
    module: nn.Module, terms: Mapping[str, Any], arguments: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the keywords that a module adds: constants, and its own parameters by name."""
    own = {id(value): name for name, value in module.named_parameters(recurse=False)}
    added = {n: v for n, v in terms.items() if n not in arguments and n != "dropout"}
    parameters = {name: own[id(value)] for name, value in added.items() if id(value) in own}
    constants = {name: value for name, value in added.items() if name not in parameters}
    if any(isinstance(value, Tensor) for value in constants.values()):
        raise ValueError("the module computes a keyword of its attention")
    return constants, parameters


_Call = tuple[tuple[Tensor, Tensor, Tensor], Any, dict[str, Any]]


@contextmanager
def _recording(config: Any) -> Iterator[list[_Call]]:
    """Within it, attention of models with `config` notes what it is asked."""
    from transformers import AttentionInterface

    calls: list[_Call] = []

    def note(
        module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Any, **terms: Any
    ) -> tuple[Tensor, None]:
        calls.append(((query, key, value), mask, terms))
        value = value.repeat_interleave(query.shape[1] // value.shape[1], dim=1)
        return value.transpose(1, 2), None

    before = config._attn_implementation
    known: Any = AttentionInterface._global_mapping
    AttentionInterface.register(_TRIAL, note)
    use_attention(config, _TRIAL)
    try:
        yield calls
    finally:
        use_attention(config, before)
        del known[_TRIAL]


def _same(expected: _Call, found: _Call, dtype: torch.dtype) -> bool:
    if expected[1] is not None or found[1] is not None or expected[2].keys() != found[2].keys():
        return False
    pairs = zip(found[0], expected[0], strict=True)
    return all(close(f, e, dtype) for f, e in pairs) and all(
        f is e or (not isinstance(f, Tensor) and f == e)
        for f, e in ((found[2][name], value) for name, value in expected[2].items())
    )
