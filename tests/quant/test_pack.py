"""Packed words against derivations by hand, and what packing loses: nothing."""

from __future__ import annotations

import device
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from swiftrl.core.errors import ConfigError
from swiftrl.quant.pack import BITS, pack, unpack


def _values(count: int, columns: int, bits: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randint(0, 2**bits, (count, columns), generator=generator)
    return device.put(values.to(torch.uint8))


@pytest.mark.parametrize(
    ("bits", "word"),
    # Values 0, 1, 2, ... modulo 2^bits, the first in the lowest bits.
    [(2, 0xE4E4E4E4), (4, 0x76543210), (8, 0x03020100)],
)
def test_first_value_is_in_the_lowest_bits(bits: int, word: int) -> None:
    values = (torch.arange(32 // bits) % 2**bits).to(torch.uint8)[:, None]
    assert int(pack(device.put(values), bits)[0, 0]) & 0xFFFFFFFF == word


def test_three_bits_run_on_over_the_words_ends() -> None:
    # Value 10 has bits 30 to 32 of the stream, value 21 bits 63 to 65.
    values = torch.zeros(32, 1, dtype=torch.uint8)
    values[10], values[21] = 0b101, 0b011
    words = [int(word) & 0xFFFFFFFF for word in pack(device.put(values), 3)[:, 0]]
    assert words == [0b01 << 30, 0b1 | 0b1 << 31, 0b01]


@given(st.sampled_from(BITS), st.integers(1, 3), st.integers(1, 5), st.integers(0, 99))
def test_unpack_returns_what_was_packed(bits: int, periods: int, columns: int, seed: int) -> None:
    values = _values(32 * periods, columns, bits, seed)
    words = pack(values, bits)
    assert words.shape == (periods * bits, columns)
    assert torch.equal(unpack(words, bits), values)


def test_values_that_leave_a_word_open_are_refused() -> None:
    with pytest.raises(ConfigError, match="multiples of 8"):
        pack(torch.zeros(12, 1, dtype=torch.uint8), 4)
    with pytest.raises(ConfigError, match="5 bits"):
        pack(torch.zeros(32, 1, dtype=torch.uint8), 5)
