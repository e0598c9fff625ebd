"""Formats of compressed-tensors against its own package (golden file), and by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from swiftrl.core.errors import ConfigError
from swiftrl.quant.format import FORMATS
from swiftrl.quant.fp8 import Fp8Weight, round_to_fp8
from swiftrl.quant.scheme import QuantWeight, Scheme

_GOLDEN = Path(__file__).with_name("golden") / "compressed_tensors.safetensors"
_CASES = {
    "w4": ("compressed_tensors", Scheme(4, 32)),
    "w4_asymmetric": ("compressed_tensors", Scheme(4, 32, symmetric=False)),
    "w8_channel": ("compressed_tensors", Scheme(8, -1)),
    "w8a8": ("w8a8", Scheme(8, -1)),
}
_OURS = ("compressed_tensors", "w8a8", "fp8")


@pytest.fixture(scope="module")
def golden() -> dict[str, torch.Tensor]:
    return load_file(_GOLDEN)


def _case(golden: dict[str, torch.Tensor], case: str) -> dict[str, torch.Tensor]:
    return {key.split(".")[1]: value for key, value in golden.items() if key.startswith(f"{case}.")}


@pytest.mark.parametrize("case", _CASES)
def test_integers_are_stored_as_the_package_stores_them(
    golden: dict[str, torch.Tensor], case: str
) -> None:
    found = _case(golden, case)
    name, scheme = _CASES[case]
    form, half = FORMATS.get(name), 2 ** (scheme.bits - 1)
    scales = found["weight_scale"]
    zeros = found.get("zeros", torch.zeros_like(scales)).float()
    spread = scales.repeat_interleave(64 // scales.shape[1], 1)
    steps = torch.round(
        found["original"] / spread + zeros.repeat_interleave(64 // zeros.shape[1], 1)
    )
    codes = (steps.clamp(-half, half - 1) + half).to(torch.uint8)
    weight = QuantWeight(codes, scales, (zeros + half).to(torch.uint8))
    tensors = form.pack(weight, scheme)
    shapes = {key: (tuple(value.shape), value.dtype) for key, value in tensors.items()}
    assert shapes == form.layout(16, 64, scheme, torch.float32)
    for key, tensor in tensors.items():
        assert torch.equal(tensor, found[key]), key
    back = form.unpack(tensors, scheme)
    assert torch.equal(back.codes, codes)
    assert torch.equal(back.zeros, weight.zeros)
    assert torch.equal(form.dequantise(tensors, scheme, torch.float32), found["dequantised"])


def test_fp8_is_rounded_and_stored_as_the_package_does_it(
    golden: dict[str, torch.Tensor],
) -> None:
    found, scheme = _case(golden, "fp8"), Scheme(8, -1)
    form = FORMATS.get("fp8")
    weight: Any = round_to_fp8(found["original"])
    tensors = form.pack(weight, scheme)
    shapes = {key: (tuple(value.shape), value.dtype) for key, value in tensors.items()}
    assert shapes == form.layout(16, 64, scheme, torch.float32)
    for key, tensor in tensors.items():
        assert torch.equal(tensor.float(), found[key].float()), key
    assert torch.equal(form.dequantise(tensors, scheme, torch.float32), found["dequantised"])


def test_fp8_by_hand() -> None:
    # Scale 2: the row's largest, 896, becomes 448. 34 / 2 = 17 lies between 16 and 18 (steps of 2
    # there): to the even mantissa, 16. 1.0625 / 2 = 0.53125 lies halfway between 0.5 and 0.5625.
    rounded = round_to_fp8(torch.tensor([[896.0, 34.0, 1.0625, 0.0], [0.0, 0.0, 0.0, 0.0]]))
    assert rounded.scales.tolist() == [[2.0], [1.0]]
    assert rounded.dequantise(torch.float32).tolist() == [[896.0, 32.0, 1.0, 0.0], [0.0] * 4]


def test_fp8_stays_finite_when_its_scale_is_rounded_down() -> None:
    # In bfloat16 the scale 449 / 448 is 1.0, and 449 would be NaN in e4m3 without a bound.
    rounded = round_to_fp8(torch.tensor([[449.0, -449.0]]), torch.bfloat16)
    assert rounded.scales.item() == 1.0
    assert rounded.dequantise(torch.float32).tolist() == [[448.0, -448.0]]


@pytest.mark.parametrize("name", _OURS)
def test_config_describes_the_scheme(name: str) -> None:
    scheme = Scheme(4, 64, symmetric=False) if name == "compressed_tensors" else Scheme(8, -1)
    config = FORMATS.get(name).to_config(scheme, ["lm_head"])
    found = {other: FORMATS.get(other).from_config(config) for other in FORMATS.names()}
    assert found == {**dict.fromkeys(found), name: scheme}
    assert config["ignore"] == ["lm_head"]


# As llm-compressor writes them, shortened: RedHatAI's w4a16, w8a8 and FP8-dynamic models.
_WEIGHTS = {
    "actorder": None, "block_structure": None, "dynamic": False, "num_bits": 4,
    "observer": "minmax", "observer_kwargs": {}, "strategy": "group", "group_size": 128,
    "symmetric": True, "type": "int",
}  # fmt: skip
_INPUTS = {
    "actorder": None, "block_structure": None, "dynamic": True, "group_size": None, "num_bits": 8,
    "observer": None, "observer_kwargs": {}, "strategy": "token", "symmetric": True, "type": "int",
}  # fmt: skip
_ROWS = _WEIGHTS | {"num_bits": 8, "strategy": "channel", "group_size": None}
_FLOATS = {"type": "float"}


def _published(form: str, weights: dict[str, Any], inputs: dict[str, Any] | None) -> dict[str, Any]:
    group = {
        "input_activations": inputs, "output_activations": None, "targets": ["Linear"],
        "weights": weights,
    }  # fmt: skip
    return {
        "config_groups": {"group_0": group}, "format": form, "global_compression_ratio": 1.5,
        "ignore": ["lm_head"], "kv_cache_scheme": None, "quant_method": "compressed-tensors",
        "quantization_status": "compressed",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "config", "scheme"),
    [
        ("compressed_tensors", _published("pack-quantized", _WEIGHTS, None), Scheme(4, 128)),
        ("w8a8", _published("int-quantized", _ROWS, _INPUTS), Scheme(8, -1)),
        (
            "fp8",
            _published("float-quantized", _ROWS | _FLOATS, _INPUTS | _FLOATS),
            Scheme(8, -1),
        ),
    ],
)
def test_published_configs_are_read(name: str, config: dict[str, Any], scheme: Scheme) -> None:
    found = {other: FORMATS.get(other).from_config(config) for other in FORMATS.names()}
    assert found == {**dict.fromkeys(found), name: scheme}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (_published("pack-quantized", _WEIGHTS | {"num_bits": 3}, None), "3 bits"),
        (_published("pack-quantized", _WEIGHTS | {"actorder": "group"}, None), "desc_act"),
        (_published("int-quantized", _ROWS, _INPUTS | {"dynamic": False}), "static"),
        (_published("int-quantized", _ROWS, None), "inputs of None bits"),
        (
            _published("float-quantized", _ROWS | _FLOATS | {"strategy": "block"},
                       _INPUTS | _FLOATS),
            "a scale by block",
        ),
        (
            _published("pack-quantized", _WEIGHTS, None)
            | {"config_groups": {"a": {"targets": ["re:.*q_proj"], "weights": _WEIGHTS}}},
            "1 groups",
        ),
    ],
)  # fmt: skip
def test_what_is_not_served_is_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        for name in _OURS:
            FORMATS.get(name).from_config(config)


@pytest.mark.parametrize(
    ("name", "scheme", "message"),
    [
        ("compressed_tensors", Scheme(3, 32), "3 bits"),
        ("compressed_tensors", Scheme(4, 32, act_order=True), "desc_act"),
        ("w8a8", Scheme(8, 128), "group_size 128"),
        ("w8a8", Scheme(8, -1, symmetric=False), "not symmetric"),
        ("fp8", Scheme(4, -1), "4 bits"),
    ],
)
def test_schemes_that_a_format_cannot_hold(name: str, scheme: Scheme, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        FORMATS.get(name).to_config(scheme, [])


def test_fp8_weights_are_a_byte() -> None:
    weight = round_to_fp8(torch.ones(2, 4))
    assert isinstance(weight, Fp8Weight)
    assert weight.values.element_size() == 1
