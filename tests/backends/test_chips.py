"""Which generation a device is of, by what its driver says."""

import types

import pytest
import torch

from swiftrl.backends.base import Backend
from swiftrl.backends.check import Check
from swiftrl.backends.detect import BACKENDS, detect, passed_over
from swiftrl.backends.hardware.ascend import A2, A5, OLDER, AscendBackend
from swiftrl.backends.hardware.cuda import ADA, AMPERE, HOPPER, ROCM, TURING, CudaBackend
from swiftrl.cli import hardware
from swiftrl.core.errors import BackendError
from swiftrl.models.config import ModelConfig


@pytest.mark.parametrize(
    ("version", "chip"),
    [
        ((7, 0), TURING),
        ((7, 5), TURING),
        ((8, 0), AMPERE),
        ((8, 6), AMPERE),
        ((8, 9), ADA),
        ((9, 0), HOPPER),
        ((10, 0), ADA),
        ((12, 0), ADA),
    ],
)
def test_nvidia_by_compute_capability(version, chip, monkeypatch):
    module = types.SimpleNamespace(get_device_capability=lambda: version)
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setattr(CudaBackend, "available", lambda self: True)
    monkeypatch.setattr(CudaBackend, "module", lambda self: module)
    assert BACKENDS.get("cuda").chip() is chip


def test_rocm_is_told_by_torch_and_not_by_its_number(monkeypatch):
    monkeypatch.setattr(torch.version, "hip", "6.4")
    assert BACKENDS.get("cuda").chip() is ROCM


@pytest.mark.parametrize(
    ("name", "chip"),
    [
        ("Ascend910B3", A2),
        ("Ascend910B4-1", A2),
        ("Ascend910_9362", A2),
        ("Ascend950PR_9579", A5),
        ("Ascend910_9589", A5),
        ("Ascend910A", OLDER),
        ("Ascend310P3", OLDER),
        ("AscendX", A2),
    ],
)
def test_ascend_by_name(name, chip, monkeypatch):
    monkeypatch.setattr(AscendBackend, "available", lambda self: True)
    monkeypatch.setattr(AscendBackend, "describe", lambda self: name)
    assert BACKENDS.get("ascend").chip() is chip
    assert BACKENDS.get("ascend").compute_dtype() == ("float32" if chip is OLDER else "bfloat16")


class Card(Backend):
    """Hardware from a plugin, asked before the package's own; `here` and `broken` are set below."""

    def available(self):
        return here

    def unusable(self):
        return Check("card", "libcard 1, and card is 2", todo="install libcard 2", ok=False)


here = True


@pytest.fixture
def card(monkeypatch):
    backend = Card("card", "cpu", "gloo", environment={"train": {"CARD_TIMEOUT": "600"}})
    monkeypatch.setitem(BACKENDS._registered, "card", backend)
    return backend


def test_libraries_that_do_not_fit_stop_the_run(card):
    with pytest.raises(BackendError, match=r"libcard 1.*install libcard 2.*--backend cpu"):
        detect()
    assert detect("cpu").name == "cpu"


def test_hardware_that_cannot_be_used_is_named_and_the_next_taken(card, monkeypatch, capsys):
    monkeypatch.setitem(globals(), "here", False)
    chosen = hardware.choose(ModelConfig(), trains=True)
    assert card.unusable() in passed_over(chosen)
    assert f"running on {chosen.name}. libcard 1" in capsys.readouterr().err
    hardware.choose(ModelConfig(backend="cpu"))
    hardware.choose(ModelConfig(use_cpu=True))
    assert capsys.readouterr().err == ""


def test_choosing_sets_the_variables_of_training(card, monkeypatch):
    monkeypatch.setattr(Card, "unusable", lambda self: None)
    monkeypatch.setenv("CARD_TIMEOUT", "9")
    monkeypatch.delenv("CARD_TIMEOUT")
    hardware.choose(ModelConfig(), trains=True)
    import os

    assert os.environ["CARD_TIMEOUT"] == "600"


def test_devices_that_are_not_used_are_mentioned(card, monkeypatch, capsys):
    monkeypatch.setattr(Card, "unusable", lambda self: None)
    monkeypatch.setattr(Card, "count", lambda self: 8)
    monkeypatch.delenv("NPROC_PER_NODE", raising=False)
    hardware.choose(ModelConfig(), trains=True)
    assert "8 devices can be seen and one is used" in capsys.readouterr().out
    hardware.choose(ModelConfig())
    hardware.choose(ModelConfig(device_map="auto"), trains=True)
    monkeypatch.setenv("NPROC_PER_NODE", "1")
    hardware.choose(ModelConfig(), trains=True)
    assert capsys.readouterr().out == ""
