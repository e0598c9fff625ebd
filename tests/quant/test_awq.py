"""AWQ: scaling changes nothing but what rounding loses."""

import device
import pytest
import torch
from problems import correlated, error_of, hessian_of

from swiftrl.quant.awq import awq, awq_scales, into_norm, into_outputs, scaled_hessian
from swiftrl.quant.grid import round_to_nearest
from swiftrl.quant.scheme import Scheme


def lost_with(weight, hessian, scales, scheme):
    """Return the error of W x where W s was rounded and x / s comes in."""
    scaled = scaled_hessian(hessian, scales)
    return error_of(weight * scales, awq(weight * scales, scaled, scheme), scaled)


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("group_size", [32, -1])
def test_loud_inputs_lose_less(symmetric, group_size):
    weight, rows = correlated(48, 64, outliers=3)
    hessian = hessian_of(rows)
    scheme = Scheme(4, group_size, symmetric)
    scales = awq_scales([weight], hessian, scheme)
    spanned = error_of(weight, round_to_nearest(weight, scheme, search=False), hessian)
    searched = error_of(weight, round_to_nearest(weight, scheme), hessian)
    assert lost_with(weight, hessian, scales, scheme) < 0.5 * min(spanned, searched)
    assert float(scales[:3].min()) > float(scales[3:].median())


def test_scales_serve_all_layers_behind_one_input():
    first, rows = correlated(40, 64, outliers=3)
    second, _ = correlated(24, 64, seed=1)
    hessian, scheme = hessian_of(rows), Scheme(4, 32, False)
    scales = awq_scales([first, second], hessian, scheme)
    for weight in (first, second):
        nearest = error_of(weight, round_to_nearest(weight, scheme), hessian)
        assert lost_with(weight, hessian, scales, scheme) < 0.5 * nearest


def test_nothing_is_scaled_where_nothing_is_lost():
    """Weights that lie on their grid."""
    weight = torch.randint(0, 16, (8, 32)).float() - 8
    weight[:, 0], weight[:, 1] = 7, -8
    scales = awq_scales([device.put(weight)], device.put(torch.eye(32)), Scheme(4, -1, False))
    assert bool((scales == 1).all())


def test_inputs_that_share_a_number_share_a_scale():
    weight, rows = correlated(16, 32, outliers=2)
    shared = device.put(torch.arange(32) % 8)
    scales = awq_scales([weight], hessian_of(rows), Scheme(4, 16), shared_I=shared)
    assert bool((scales.view(4, 8) == scales[:8]).all())
    assert float(scales.max()) > float(scales.min())


def test_dead_inputs_and_dead_weights_leave_scales_finite():
    weight, rows = correlated(16, 32, outliers=2)
    rows[:, 5] = 0
    weight[:, 7] = 0
    scales = awq_scales([weight], hessian_of(rows), Scheme(4, 16))
    assert bool(torch.isfinite(scales).all()) and float(scales.min()) > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("offset", [0.0, 1.0])
def test_a_norm_takes_scales_up(dtype, offset):
    """Also in bfloat16: columns are multiplied by what the rounded norm divides by."""
    draw = torch.Generator().manual_seed(0)
    norm = device.put(torch.randn(32, generator=draw)).to(dtype)
    norm[4] = -offset
    weight, rows = correlated(6, 32)
    new, scales = into_norm(
        norm, device.put(torch.rand(32, generator=draw) * 5 + 0.1), offset=offset
    )
    assert new.dtype == dtype
    before = (rows * (norm.float() + offset)) @ weight.t()
    after = (rows * (new.float() + offset)) @ (weight * scales).t()
    assert torch.allclose(before, after, rtol=1e-4, atol=1e-4)


def test_a_linear_layer_takes_scales_up():
    first, rows = correlated(32, 16)
    second, _ = correlated(6, 32, seed=1)
    bias = device.put(torch.linspace(-1, 1, 32))
    scales = device.put(torch.rand(32, generator=torch.Generator().manual_seed(0)) * 5 + 0.1)
    weight, moved = into_outputs(first, bias, scales)
    before = (rows @ first.t() + bias) @ second.t()
    after = (rows @ weight.t() + moved) @ (second * scales).t()
    assert torch.allclose(before, after, rtol=1e-4, atol=1e-4)
    assert into_outputs(first, None, scales)[1] is None
