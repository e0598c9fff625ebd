"""Which models can be trained with their tokens divided: what their configuration says of it."""

from __future__ import annotations

from typing import Any

from swiftrl.core.errors import ConfigError

__all__ = ["check_model"]

_ATTENTION = {"full_attention", "sliding_attention"}
_RECURRENT = ("mamba_", "ssm_", "linear_attn", "linear_num_", "conv_L_cache", "rwkv")


def check_model(config: Any, size: int, flag: str = "--model") -> None:
    """Refuse a model whose tokens cannot be divided among `size` processes.

    Args:
        config: of transformers.
        size: processes of a group.
        flag: that gave the model, for messages.

    Raises:
        ConfigError: what stands in the way.
    """
    if size == 1:
        return
    text = config.get_text_config(decoder=True)
    heads = getattr(text, "num_attention_heads", None)
    if isinstance(heads, int) and heads % size:
        fit = ", ".join(str(n) for n in range(2, heads + 1) if not heads % n)
        _refuse(size, flag, f"has {heads} attention heads, which {size} does not divide", fit)
    if getattr(config, "is_encoder_decoder", False):
        _refuse(size, flag, "is an encoder-decoder")
    other = sorted(set(getattr(text, "layer_types", None) or ()) - _ATTENTION)
    named = [name for name in vars(text) if name.startswith(_RECURRENT)]
    if heads is None or other or named or getattr(text, "layers_block_type", None):
        what = ", ".join(other or named[:2]) or "layers without attention"
        _refuse(size, flag, f"carries a state from token to token ({what})")


def _refuse(size: int, flag: str, what: str, fit: str = "") -> None:
    choice = f"Choose one of {fit}, or leave" if fit else "Leave"
    raise ConfigError(
        f"--sequence_parallel_size {size}: the model of {flag} {what}. {choice} "
        "--sequence_parallel_size."
    )
