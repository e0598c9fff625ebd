"""Layers packed by GPTQModel 7.6 (golden/make_gptq_awq.py), held against bit by bit."""

from __future__ import annotations

from pathlib import Path

import device
import pytest
import torch
from safetensors.torch import load_file

from swiftrl.quant.format import FORMATS
from swiftrl.quant.scheme import QuantWeight, Scheme

_FOLDER = Path(__file__).parent / "golden"
_FILES = [
    *((f"{name}_{bits}bit", name, bits) for name in ("gptq", "gptq_v2") for bits in (2, 3, 4, 8)),
    ("gptq_4bit_act_order", "gptq", 4),
    ("awq_4bit", "awq", 4),
]


@pytest.mark.parametrize(("file", "name", "bits"), _FILES)
def test_packed_bit_by_bit_as_gptqmodel_does(file: str, name: str, bits: int) -> None:
    stored = {key: device.put(t) for key, t in load_file(_FOLDER / f"{file}.safetensors").items()}
    given = {key.removeprefix("given."): t for key, t in stored.items() if key.startswith("given.")}
    theirs = {key: t for key, t in stored.items() if not key.startswith("given.")}
    act_order = "act_order" in file
    scheme = Scheme(bits, 32, symmetric=False, act_order=act_order)
    if not act_order:
        given.pop("group_of", None)
    form, weight = FORMATS.get(name), QuantWeight(**given)
    ours = form.pack(weight, scheme)
    assert set(ours) == set(theirs)
    for key, tensor in theirs.items():
        assert ours[key].dtype == tensor.dtype, key
        assert torch.equal(ours[key], tensor), key
    back = form.unpack(theirs, scheme)
    assert torch.equal(back.codes, weight.codes)
    assert torch.equal(back.zeros, weight.zeros)
    unpacked = form.dequantise(theirs, scheme, torch.bfloat16)
    assert torch.equal(unpacked, weight.dequantise(torch.bfloat16))
