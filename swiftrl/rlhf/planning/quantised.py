"""What quantised weights take, by method: arithmetic on their formats."""

from __future__ import annotations

from swiftrl.core.errors import ConfigError
from swiftrl.rlhf.planning.choices import Quantisation

__all__ = ["METHODS", "quantisation"]

METHODS = ("bnb", "gptq", "awq", "hqq", "fp8")
_SCALE_BITS = 16
_FLOAT32_BITS = 32
_BLOCK = 64
"""Weights under one scale of bitsandbytes' 4-bit formats (QLoRA, arXiv:2305.14314)."""
_SECOND = 256
"""Scales under one scale of their own with double quantisation."""
_FP8_BLOCK = 128 * 128


def quantisation(method: str, bits: int | None, group_size: int | None) -> Quantisation:
    """Return the bits of a weight.

    bnb: NF4 or FP4 with double quantisation, or LLM.int8. gptq, awq, hqq: a 16-bit scale and a
    zero point a group. fp8: a float32 scale a block of 128 x 128.

    Raises:
        ConfigError: the method has no such number of bits.
    """
    allowed = {
        "bnb": (4, 8),
        "gptq": (2, 3, 4, 8),
        "awq": (4,),
        "hqq": (1, 2, 3, 4, 8),
        "fp8": (8,),
    }
    bits = bits or allowed[method][0 if method in ("bnb", "awq", "fp8") else -2]
    if bits not in allowed[method]:
        known = ", ".join(map(str, allowed[method]))
        raise ConfigError(f"--quant_bits {bits}: {method} has {known}.")
    if group_size is not None and group_size < 1:
        raise ConfigError(f"--group_size {group_size}: expected 1 or more.")
    return Quantisation(f"{method} {bits}-bit", bits, _extra(method, bits, group_size))


def _extra(method: str, bits: int, group_size: int | None) -> float:
    if method == "bnb" and bits == 8:
        return 0.0  # a float32 a row
    if method == "bnb":
        return (8 + _FLOAT32_BITS / _SECOND) / _BLOCK
    if method == "fp8":
        return _FLOAT32_BITS / _FP8_BLOCK
    zero = _SCALE_BITS if method == "hqq" else bits
    return (_SCALE_BITS + zero) / (group_size or (64 if method == "hqq" else 128))
