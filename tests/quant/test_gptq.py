"""GPTQ against the surgeon it stands for, and what must hold whatever it is given."""

import device
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import correlated, error_of, hessian_of

from swiftrl.core.errors import ConfigError, ModelError
from swiftrl.quant.gptq import gptq, output_error
from swiftrl.quant.grid import round_to_nearest
from swiftrl.quant.scheme import Scheme


def surgeon(weight, hessian, scheme, order, damping=0.01):
    """Round greedily by optimal brain surgery, in float64, with a full inverse at every step.

    Frantar et al. 2022, equations 2 and 3: w_q is rounded, the inputs F not yet rounded move by
    -(w_q - quant(w_q)) / [H_F^-1]_qq (H_F^-1)_:,q. Grids span the groups as they then are.
    """
    weight, hessian = weight.double().clone(), hessian.double().clone()
    hessian += damping * hessian.diagonal().mean() * torch.eye(len(hessian))
    size = weight.shape[1] if scheme.group_size == -1 else scheme.group_size
    left, rounded = list(order), weight.clone()
    for number, column in enumerate(order):
        if number % size == 0:
            members = weight[:, order[number : number + size]]
            scale = members.abs().amax(1) * 2 / (2**scheme.bits - 1)
            scale *= torch.where(members.amax(1) > -members.amin(1), -1, 1)
            scale = scale.to(torch.float16).double()
        half = 2 ** (scheme.bits - 1)
        rounded[:, column] = torch.clamp(torch.round(weight[:, column] / scale), -half, half - 1)
        rounded[:, column] *= scale
        inverse = torch.linalg.inv(hessian[left][:, left])
        here = left.index(column)
        loss = (weight[:, column] - rounded[:, column]) / inverse[here, here]
        weight[:, left] -= loss[:, None] * inverse[here]
        left.remove(column)
    return rounded


@pytest.mark.parametrize("group_size", [8, -1])
@pytest.mark.parametrize("act_order", [False, True])
@pytest.mark.parametrize("block_size", [3, 128])
def test_the_first_pass_is_the_surgeons(group_size, act_order, block_size):
    weight, rows = correlated(5, 24)
    hessian = hessian_of(rows)
    scheme = Scheme(4, group_size, act_order=act_order)
    mean_square = hessian.diagonal()
    order = torch.argsort(mean_square, descending=True)
    if not act_order and group_size > 0:
        groups = [list(range(start, start + 8)) for start in range(0, 24, 8)]
        groups.sort(key=lambda group: -mean_square[group].max())
        order = [i for group in groups for i in sorted(group, key=lambda i: -mean_square[i])]
    expected = surgeon(weight.cpu(), hessian.cpu(), scheme, [int(i) for i in order])
    done = gptq(weight, hessian, scheme, sweeps=0, search=False, block_size=block_size)
    got = done.weight.dequantise(torch.float32).cpu()
    assert torch.allclose(got.double(), expected, atol=1e-5)
    assert done.damping == 0.01


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("group_size", [16, -1])
@pytest.mark.parametrize("act_order", [True, False])
def test_every_step_pays(bits, symmetric, group_size, act_order):
    weight, rows = correlated(24, 64)
    hessian = hessian_of(rows)
    scheme = Scheme(bits, group_size, symmetric, act_order)
    nearest = error_of(weight, round_to_nearest(weight, scheme, search=False), hessian)
    first = error_of(weight, gptq(weight, hessian, scheme, sweeps=0).weight, hessian)
    polished = gptq(weight, hessian, scheme).weight
    assert first < nearest * 0.9
    assert error_of(weight, polished, hessian) < first
    assert int(polished.codes.max()) <= 2**bits - 1
    if symmetric:
        assert bool((polished.zeros == 2 ** (bits - 1)).all())


@pytest.mark.parametrize("symmetric", [True, False])
def test_inputs_that_do_not_go_together_are_rounded_to_nearest(symmetric):
    weight, _ = correlated(6, 32)
    scheme = Scheme(4, 8, symmetric)
    done = gptq(weight, 2 * device.put(torch.eye(32)), scheme, sweeps=0, damping=1.0).weight
    nearest = round_to_nearest(weight, scheme)
    assert torch.equal(done.codes, nearest.codes)
    assert torch.allclose(done.scales.float(), nearest.scales.float(), rtol=2**-10)


def test_without_calibration_weights_are_rounded_to_nearest():
    weight, _ = correlated(6, 32)
    done = gptq(weight, device.put(torch.zeros(32, 32)), Scheme(4, 8), sweeps=0).weight
    assert torch.equal(done.codes, round_to_nearest(weight, Scheme(4, 8)).codes)


def test_dead_inputs_are_rounded_to_nearest_and_hurt_no_others():
    weight, rows = correlated(6, 32)
    rows[:, [3, 17]] = 0
    done = gptq(weight, hessian_of(rows), Scheme(8, -1), search=False, sweeps=0).weight
    value = done.dequantise(torch.float32)
    step = done.scales.float()
    assert bool(((value - weight)[:, [3, 17]].abs() <= step * 0.5001).all())


def test_act_order_lists_each_inputs_group():
    weight, rows = correlated(6, 32)
    hessian = hessian_of(rows)
    done = gptq(weight, hessian, Scheme(4, 8, act_order=True)).weight
    place = torch.argsort(torch.argsort(hessian.diagonal(), descending=True))
    assert torch.equal(done.group_of, place // 8)
    assert output_error(weight, done, hessian) < 0.01


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_codes_are_chosen_for_the_scales_of_the_file(dtype):
    weight, rows = correlated(6, 32)
    scheme = Scheme(4, 8)
    done = gptq(weight.to(torch.bfloat16), hessian_of(rows), scheme, scale_dtype=dtype).weight
    assert done.scales.dtype == dtype
    nearest = round_to_nearest(weight, scheme, scale_dtype=dtype)
    steps = torch.round(weight.view(6, 4, 8) / nearest.scales.float()[..., None]).clamp(-8, 7)
    assert torch.equal(nearest.codes, (steps + 8).view(6, 32).to(torch.uint8))


def test_what_cannot_be_rounded_is_refused():
    weight, rows = correlated(6, 32)
    hessian = hessian_of(rows)
    with pytest.raises(ConfigError, match="--group_size 12 does not divide a layer's 32 inputs"):
        gptq(weight, hessian, Scheme(4, 12))
    damaged = hessian.clone()
    damaged[3, 4] = torch.nan
    with pytest.raises(ModelError, match="NaN or infinite during calibration"):
        gptq(weight, damaged, Scheme(4, 8))
    with pytest.raises(ModelError, match="cannot be factorised"):
        gptq(weight, -hessian - 100 * torch.eye(32).to(hessian), Scheme(4, 8))
    weight[2, 5] = torch.inf
    with pytest.raises(ModelError, match="weight holds NaN or infinity"):
        gptq(weight, hessian, Scheme(4, 8))


def test_damping_grows_until_the_hessian_can_be_factorised():
    weight, rows = correlated(6, 32)
    hessian = hessian_of(rows)
    hessian -= 0.05 * hessian.diagonal().mean() * torch.eye(32).to(hessian)
    done = gptq(weight, hessian, Scheme(4, 8), damping=0.01)
    assert done.damping in (0.02, 0.04, 0.08)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    outputs=st.integers(1, 6),
    inputs=st.sampled_from([4, 16, 24]),
    tokens=st.integers(1, 40),
    bits=st.sampled_from([2, 3, 4, 8]),
    symmetric=st.booleans(),
    act_order=st.booleans(),
)
def test_never_worse_than_round_to_nearest(
    seed, outputs, inputs, tokens, bits, symmetric, act_order
):
    """On the same groups, by the Hessian as damped."""
    draw = torch.Generator().manual_seed(seed)
    weight = device.put(torch.randn(outputs, inputs, generator=draw))
    rows = device.put(torch.randn(tokens, inputs, generator=draw))
    hessian = hessian_of(rows * torch.exp(torch.randn(inputs, generator=draw)).to(rows))
    done = gptq(weight, hessian, Scheme(bits, 4, symmetric, act_order))
    hessian.diagonal().add_(done.damping * hessian.diagonal().mean())
    got = error_of(weight, done.weight, hessian)
    if act_order:
        order = torch.argsort(hessian.diagonal(), descending=True, stable=True)
        weight, hessian = weight[:, order], hessian[order][:, order]
    nearest = error_of(weight, round_to_nearest(weight, Scheme(bits, 4, symmetric)), hessian)
    assert got <= nearest * (1 + 1e-3)
