"""Small integers packed into 32-bit words, as GPTQ's and AWQ's files hold them.

The values of a column follow each other as one stream of bits, the lowest bits of the first
word first. With 2, 4 or 8 bits none crosses a word's end; with 3 bits 32 values fill 3 words.

Shapes: N packed values, C columns, W words.
"""

from __future__ import annotations

from math import lcm

import torch
from torch import Tensor

from swiftrl.core.errors import ConfigError

__all__ = ["BITS", "WORD", "pack", "unpack", "words_for"]

BITS = (2, 3, 4, 8)
"""Bits of a value that can be packed."""

WORD = 32
"""Bits of a word."""


def words_for(values: int, bits: int) -> int:
    """Return how many words `values` values of `bits` bits fill.

    Raises:
        ConfigError: other bits than BITS, or the last word would not be full.
    """
    if bits not in BITS:
        raise ConfigError(
            f"weights of {bits} bits: the file's format holds {', '.join(map(str, BITS))}."
        )
    period = lcm(WORD, bits) // bits
    if values % period:
        raise ConfigError(
            f"{values} weights of {bits} bits do not fill whole 32-bit words: "
            f"the inputs and outputs of a layer must be multiples of {period}. "
            "Leave the layer unquantised, or choose other bits."
        )
    return values * bits // WORD


def pack(values_NC: Tensor, bits: int) -> Tensor:
    """Pack each column into words.

    Args:
        values_NC: [N, C] whole numbers, 0 up to 2^bits - 1.
        bits: of each.

    Returns:
        [W, C] int32.

    Raises:
        ConfigError: the values do not fill whole words.
    """
    count, columns = values_NC.shape
    period, per_period = _period(bits)
    words = torch.zeros(
        words_for(count, bits) // per_period,
        per_period,
        columns,
        dtype=torch.int64,
        device=values_NC.device,
    )
    values = values_NC.reshape(-1, period, columns).long()
    for index in range(period):
        word, shift = divmod(index * bits, WORD)
        words[:, word] |= values[:, index] << shift
        if shift + bits > WORD:
            words[:, word + 1] |= values[:, index] >> (WORD - shift)
    words &= 2**WORD - 1
    signed = torch.where(words >= 2 ** (WORD - 1), words - 2**WORD, words)
    return signed.to(torch.int32).view(-1, columns)


def unpack(words_WC: Tensor, bits: int) -> Tensor:
    """Return what `pack` was given: [N, C] uint8."""
    rows, columns = words_WC.shape
    period, per_period = _period(bits)
    words = words_WC.view(rows // per_period, per_period, columns)
    values = torch.empty(
        rows // per_period, period, columns, dtype=torch.uint8, device=words_WC.device
    )
    mask = 2**bits - 1
    for index in range(period):
        word, shift = divmod(index * bits, WORD)
        # The shift carries the sign along; the mask removes it.
        value = words[:, word] >> shift
        over = shift + bits - WORD
        if over > 0:
            kept = bits - over
            value = (value & (2**kept - 1)) | (words[:, word + 1] << kept)
        values[:, index] = value & mask
    return values.view(-1, columns)


def _period(bits: int) -> tuple[int, int]:
    """Return after how many values, and words, a value starts where a word starts."""
    stream = lcm(WORD, bits)
    return stream // bits, stream // WORD
