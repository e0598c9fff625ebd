"""Formats of quantised layers: what they hold comes back, and config.json says what it is."""

from __future__ import annotations

from typing import Any

import device
import pytest
import torch

from swiftrl.core.errors import ConfigError
from swiftrl.quant.format import FORMATS, Format
from swiftrl.quant.scheme import QuantWeight, Scheme

_OUTPUTS, _INPUTS = 64, 128
_HELD = [
    *((name, bits) for name in ("gptq", "gptq_v2") for bits in (2, 3, 4, 8)),
    ("awq", 4),
]


def _weight(bits: int, groups: int, group_of: torch.Tensor | None = None) -> QuantWeight:
    generator = torch.Generator().manual_seed(bits)
    shape = (_OUTPUTS, groups)
    return QuantWeight(
        codes=device.put(_integers(0, bits, (_OUTPUTS, _INPUTS), generator)),
        scales=device.put((torch.rand(shape, generator=generator) + 0.1).half()),
        zeros=device.put(_integers(1, bits, shape, generator)),
        group_of=group_of,
    )


def _integers(
    low: int, bits: int, shape: tuple[int, int], generator: torch.Generator
) -> torch.Tensor:
    return torch.randint(low, 2**bits, shape, generator=generator).to(torch.uint8)


@pytest.mark.parametrize("group_size", [32, 128, -1])
@pytest.mark.parametrize(("name", "bits"), _HELD)
def test_a_layer_comes_back(name: str, bits: int, group_size: int) -> None:
    form, scheme = FORMATS.get(name), Scheme(bits, group_size, symmetric=False)
    weight = _weight(bits, scheme.groups(_INPUTS))
    tensors = form.pack(weight, scheme)
    shapes = {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in tensors.items()}
    assert shapes == form.layout(_OUTPUTS, _INPUTS, scheme, torch.float16)
    back = form.unpack(tensors, scheme)
    assert torch.equal(back.codes, weight.codes)
    assert torch.equal(back.zeros, weight.zeros)
    assert torch.equal(back.scales, weight.scales)
    assert back.group_of is None
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        assert torch.equal(form.dequantise(tensors, scheme, dtype), weight.dequantise(dtype))


@pytest.mark.parametrize("name", ["gptq", "gptq_v2"])
def test_groups_may_lie_in_any_order(name: str) -> None:
    form, scheme = FORMATS.get(name), Scheme(4, 32, symmetric=False, act_order=True)
    order = torch.randperm(_INPUTS, generator=torch.Generator().manual_seed(1))
    weight = _weight(4, 4, group_of=device.put(order // 32))
    tensors = form.pack(weight, scheme)
    back = form.unpack(tensors, scheme)
    assert back.group_of is not None
    assert weight.group_of is not None
    assert torch.equal(back.group_of, weight.group_of)
    dequantised = form.dequantise(tensors, scheme, torch.bfloat16)
    assert torch.equal(dequantised, weight.dequantise(torch.bfloat16))


def test_versions_of_gptq_differ_in_the_stored_zero_alone() -> None:
    scheme = Scheme(4, 32)
    weight = _weight(4, 4)
    weight.zeros.fill_(8)
    first, second = (FORMATS.get(name).pack(weight, scheme) for name in ("gptq", "gptq_v2"))
    assert bool((first["qzeros"] == 0x77777777).all())
    assert bool((second["qzeros"] == 0x88888888 - 2**32).all())
    for name in ("qweight", "scales", "g_idx"):
        assert torch.equal(first[name], second[name])


def test_version_1_refuses_a_zero_point_of_0() -> None:
    weight = _weight(4, 4)
    weight.zeros[3, 1] = 0
    with pytest.raises(ConfigError, match="gptq_v2"):
        FORMATS.get("gptq").pack(weight, Scheme(4, 32, symmetric=False))


def test_a_zero_point_of_0_that_borrowed_from_the_next_comes_back() -> None:
    # GPTQModel takes 0x11111111 off the word 0x55555550, so that the lowest value borrows.
    scheme = Scheme(4, -1, symmetric=False)
    tensors = FORMATS.get("gptq").pack(_weight(4, 1), scheme)
    tensors["qzeros"].fill_(0x55555550 - 0x11111111)
    zeros = FORMATS.get("gptq").unpack(tensors, scheme).zeros
    assert zeros[:8, 0].tolist() == [0, 5, 5, 5, 5, 5, 5, 5]


def test_awq_places_outputs_in_its_order() -> None:
    # By hand: outputs 0 to 7 of one input have codes 0 to 7; places, lowest first: 0 2 4 6 1 3 5 7.
    weight = QuantWeight(
        codes=torch.arange(8, dtype=torch.uint8)[:, None],
        scales=torch.ones(8, 1).half(),
        zeros=torch.zeros(8, 1, dtype=torch.uint8),
    )
    tensors = FORMATS.get("awq").pack(weight, Scheme(4, -1, symmetric=False))
    assert int(tensors["qweight"][0, 0]) == 0x75316420


@pytest.mark.parametrize(
    ("name", "scheme", "message"),
    [
        ("gptq", Scheme(4, 128, symmetric=False), "gptq_v2"),
        ("gptq_v2", Scheme(5, 128), "5 bits"),
        ("awq", Scheme(3, 128, symmetric=False), "3 bits"),
        ("awq", Scheme(4, 128, symmetric=False, act_order=True), "size of their inputs"),
    ],
)
def test_what_a_format_cannot_hold_is_known_from_the_scheme(
    name: str, scheme: Scheme, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        FORMATS.get(name).to_config(scheme, [])


def test_awq_refuses_other_bits() -> None:
    with pytest.raises(ConfigError, match="4 bits"):
        FORMATS.get("awq").pack(_weight(8, 4), Scheme(8, 32))


@pytest.mark.parametrize(("name", "bits"), _HELD)
def test_config_describes_the_scheme(name: str, bits: int) -> None:
    scheme = Scheme(bits, 64, symmetric=name == "gptq", act_order=name != "awq")
    config = FORMATS.get(name).to_config(scheme, ["lm_head", "model.layers.0.mlp.gate"])
    found = {other: form.from_config(config) for other, form in _ours()}
    assert found == {**dict.fromkeys(found), name: scheme}


_PUBLISHED: list[tuple[str, dict[str, Any], Scheme]] = [
    # AutoGPTQ 0.4, before versions; Qwen's files; GPTQModel; AutoAWQ; AutoAWQ's older keys.
    ("gptq", {"bits": 4, "group_size": 128, "desc_act": True, "sym": True,
              "quant_method": "gptq"}, Scheme(4, 128, True, True)),
    ("gptq", {"bits": 8, "group_size": -1, "desc_act": False, "sym": False,
              "quant_method": "gptq", "static_groups": False, "damp_percent": 0.01,
              "checkpoint_format": "gptq", "model_name_or_path": None}, Scheme(8, -1, False)),
    ("gptq_v2", {"bits": 4, "group_size": 32, "desc_act": False, "sym": True, "lm_head": False,
                 "quant_method": "gptq", "checkpoint_format": "gptq_v2", "pack_dtype": "int32",
                 "dynamic": {"-:.*gate": {}, "+:.*down": {"bits": 4}}}, Scheme(4, 32)),
    ("awq", {"bits": 4, "group_size": 128, "quant_method": "awq", "version": "gemm",
             "zero_point": True, "modules_to_not_convert": ["visual"]}, Scheme(4, 128, False)),
    ("awq", {"w_bit": 4, "q_group_size": 64, "quant_method": "awq", "version": "GEMM",
             "zero_point": True}, Scheme(4, 64, False)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "config", "scheme"), _PUBLISHED)
def test_published_configs_are_read(name: str, config: dict[str, Any], scheme: Scheme) -> None:
    assert {n: found for n, form in _ours() if (found := form.from_config(config))} == {
        name: scheme
    }


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"quant_method": "gptq", "bits": 4, "checkpoint_format": "marlin"}, "one kernel alone"),
        ({"quant_method": "gptq", "bits": 4, "is_marlin_format": True}, "marlin"),
        ({"quant_method": "gptq", "bits": 5}, "5 bits"),
        ({"quant_method": "gptq", "bits": 4, "pack_dtype": "int8"}, "int8 words"),
        (
            {"quant_method": "gptq", "bits": 4, "dynamic": {"+:.*down": {"bits": 8}}},
            r"'\+:\.\*down' bits 8",
        ),
        ({"quant_method": "awq", "bits": 4, "version": "gemv"}, "'gemv'"),
        ({"quant_method": "awq", "bits": 4, "zero_point": False}, "zero_point False"),
    ],
)
def test_what_is_not_served_is_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        for _, form in _ours():
            form.from_config(config)


def _ours() -> list[tuple[str, Format]]:
    return [(name, FORMATS.get(name)) for name in ("awq", "gptq", "gptq_v2")]
