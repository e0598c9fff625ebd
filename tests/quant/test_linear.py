"""A layer on packed weights against the plain layer on the same weights unpacked."""

from __future__ import annotations

import copy

import device
import pytest
import torch
import torch.nn.functional as F

from swiftrl.quant.format import FORMATS
from swiftrl.quant.linear import QuantLinear, of_format
from swiftrl.quant.scheme import QuantWeight, Scheme

_INPUTS, _OUTPUTS = 64, 96


def _layer(name: str, *, bias: torch.dtype | None = None) -> QuantLinear:
    scheme, generator = Scheme(4, 32, symmetric=False), torch.Generator().manual_seed(0)
    integers = torch.randint(1, 16, (_OUTPUTS, _INPUTS + 2), generator=generator).to(torch.uint8)
    scales = (torch.rand(_OUTPUTS, 2, generator=generator) / 50 + 0.01).half()
    weight = QuantWeight(integers[:, 2:], scales, integers[:, :2].contiguous())
    form = FORMATS.get(name)
    layer = of_format(form, scheme, _INPUTS, _OUTPUTS, scales=torch.float16, bias=bias)
    layer.load_state_dict(form.pack(weight, scheme), strict=bias is None)
    if layer.bias is not None:
        layer.bias.data.normal_(generator=generator)
    return device.put(layer)


def _input(dtype: torch.dtype) -> torch.Tensor:
    x = torch.randn(2, 5, _INPUTS, generator=torch.Generator().manual_seed(1))
    return device.put(x.to(dtype)).requires_grad_()


@pytest.mark.parametrize("name", ["gptq", "gptq_v2", "awq"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_value_and_gradients_are_a_plain_layers(name: str, dtype: torch.dtype) -> None:
    layer = _layer(name, bias=torch.float32)
    assert layer.bias is not None
    layer.bias.requires_grad_()
    x, plain_x = _input(dtype), _input(dtype)
    bias = layer.bias.detach().clone().requires_grad_()
    expected = F.linear(plain_x, layer.unpacked(dtype), bias.to(dtype))
    y = layer(x)
    assert y.dtype == dtype
    assert torch.equal(y, expected)
    upstream = torch.randn_like(y)
    y.backward(upstream)
    expected.backward(upstream)
    assert x.grad is not None
    assert plain_x.grad is not None
    assert bias.grad is not None
    torch.testing.assert_close(x.grad, plain_x.grad)
    torch.testing.assert_close(layer.bias.grad, bias.grad, rtol=2e-2, atol=2e-2)


def test_autocast_decides_the_type() -> None:
    layer, x = _layer("gptq"), _input(torch.float32)
    with torch.autocast(device.name(), dtype=torch.bfloat16):
        y = layer(x)
    assert y.dtype == torch.bfloat16
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.dtype == torch.float32


def test_nothing_but_the_packed_tensors_is_kept() -> None:
    layer, kept = _layer("awq"), []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        layer(_input(torch.float32))
    assert kept == []


def test_state_has_the_files_names_and_nothing_trains() -> None:
    layer = _layer("gptq")
    assert set(layer.state_dict()) == {"qweight", "qzeros", "scales", "g_idx"}
    assert not any(p.requires_grad for p in layer.parameters())
    assert layer.weight.shape == (_OUTPUTS, _INPUTS)
    assert layer.weight.dtype == torch.float16
    twin = copy.deepcopy(layer)
    assert torch.equal(twin.weight, layer.weight)
