from pathlib import Path
from statistics import NormalDist

import device
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from swiftrl.quant import nf4

GOLDEN = Path(__file__).parent / "golden" / "nf4.safetensors"
PARTS = ("codes", "absmax", "absmax_scale", "absmax_mean")


def test_the_points_are_quantiles_of_a_normal_distribution():
    """Appendix E: eight even steps from the quantile at 0.9677083 to the median, seven below.

    The first is 1 - (1/32 + 1/30) / 2, halfway between what 16 and 15 values would begin with.
    """
    first = 0.9677083
    above = [first + (0.5 - first) * step / 8 for step in range(8)]
    below = [first + (0.5 - first) * step / 7 for step in range(7)]
    quantile = NormalDist().inv_cdf
    points = [*map(quantile, above), 0.0, *(-quantile(place) for place in below)]
    largest = max(points)
    expected = sorted(point / largest for point in points)
    assert list(nf4.NF4) == pytest.approx(expected, abs=3e-7)


def test_the_8_bit_type_has_seven_powers_of_ten():
    points = nf4.dynamic_8bit()
    assert len(points) == len(set(points)) == 256
    assert points[0] == -max(p for p in points if p < 1.0)
    # One step between 1e-7 and 1e-6, 64 between 0.1 and 1, and 1 itself.
    assert sum(1e-7 < p < 1e-6 for p in points) == 1
    assert sum(0.1 < p < 1 for p in points) == 64


@pytest.fixture(scope="module")
def golden():
    return load_file(GOLDEN)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_codes_are_those_of_bitsandbytes(golden, dtype):
    found = nf4.quantise(device.put(golden[f"{dtype}.weight"]))
    assert found["codes"].cpu().equal(golden[f"{dtype}.codes"])
    for part in ("absmax_scale", "absmax_mean"):
        torch.testing.assert_close(found[part].cpu(), golden[f"{dtype}.{part}"])
    # Its kernel takes the farther of two neighbours now and then (1 of 1,000).
    steps = found["absmax"].cpu().int() - golden[f"{dtype}.absmax"].int()
    assert steps.abs().max() <= 1
    assert steps.count_nonzero() <= 3


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_what_bitsandbytes_wrote_gives_the_weights_it_reads(golden, dtype):
    tensors = {part: device.put(golden[f"{dtype}.{part}"]) for part in PARTS}
    expected = golden[f"{dtype}.dequantised"]
    found = nf4.dequantise(tensors, expected.dtype).cpu()
    torch.testing.assert_close(found, expected, rtol=1e-6 if dtype == "float32" else 0, atol=0)


@given(outputs=st.integers(1, 9), pairs=st.integers(1, 70), seed=st.integers(0, 2**16))
def test_no_weight_is_farther_away_than_half_the_widest_step(outputs, pairs, seed):
    weight = torch.randn(outputs, 2 * pairs, generator=torch.Generator().manual_seed(seed))
    tensors = nf4.quantise(weight)
    found = nf4.dequantise(tensors, torch.float32)
    expected = nf4.layout(outputs, 2 * pairs)
    assert {k: (tuple(v.shape), v.dtype) for k, v in tensors.items()} == expected
    flat = torch.nn.functional.pad(weight.view(-1), (0, -weight.numel() % nf4.BLOCK))
    largest = flat.view(-1, nf4.BLOCK).abs().amax(1, keepdim=True).expand(-1, nf4.BLOCK)
    # The widest step, -1 to -0.696; and the size of a block itself is rounded, by no more than
    # 1/128 of the largest deviation of 256.
    rounded = (largest - largest.mean()).abs().max() / 64
    bound = 0.152 * largest + rounded
    assert ((found - weight).abs().view(-1) <= bound.reshape(-1)[: weight.numel()]).all()


def test_long_weights_are_worked_on_in_strips(monkeypatch):
    weight = torch.randn(24, 96, generator=torch.Generator().manual_seed(0))
    whole = nf4.quantise(weight)
    monkeypatch.setattr(nf4, "_STRIP", 256)
    strips = nf4.quantise(weight)
    assert all(whole[part].equal(strips[part]) for part in PARTS)
    assert nf4.dequantise(strips, torch.bfloat16).equal(nf4.dequantise(whole, torch.bfloat16))


def test_zeros_stay_zero():
    found = nf4.dequantise(nf4.quantise(torch.zeros(4, 64)), torch.float32)
    assert found.equal(torch.zeros(4, 64))


def test_double_quantisation_takes_a_little_more_than_four_bits():
    tensors = nf4.quantise(torch.randn(512, 512))
    bits = 8 * sum(t.numel() * t.element_size() for t in tensors.values()) / 512**2
    assert bits == pytest.approx(4 + 8 / 64 + 32 / (64 * 256), abs=1e-3)
