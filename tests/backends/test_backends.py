import random

import numpy
import pytest
import torch

from swiftrl.backends.base import Backend, Check
from swiftrl.backends.capabilities import Capabilities, Chip
from swiftrl.backends.detect import BACKENDS, detect
from swiftrl.core.errors import BackendError, ConfigError


@pytest.fixture(params=BACKENDS.names())
def backend(request) -> Backend:
    return BACKENDS.get(request.param)


@pytest.fixture
def usable(backend) -> Backend:
    if not backend.available():
        pytest.skip(f"no {backend.name} device here")
    return backend


def test_every_kind_of_hardware_is_listed():
    assert BACKENDS.names() == ["ascend", "cpu", "cuda", "mps"]


def test_constants(backend):
    assert backend.name in BACKENDS.names()
    assert backend.start_method in ("fork", "spawn")
    assert {"sdpa", "eager"} <= set(backend.capabilities.attention)
    if backend.visible_env:
        assert backend.start_method == "spawn"  # a fork after device initialisation hangs


def test_absent_hardware_is_told_apart(backend):
    if backend.available():
        assert detect(backend.name) is backend
        assert backend.count() >= 1
    else:
        assert backend.count() == 0
        with pytest.raises(BackendError, match="swiftrl env"):
            detect(backend.name)


def test_device_methods(usable):
    usable.set_device(0)
    device = usable.current_device()
    assert device.type == usable.device_type
    ones = torch.ones(4, device=device)
    usable.synchronize()
    assert ones.sum().item() == 4
    memory = usable.mem_info()
    assert 0 < memory.free <= memory.total
    assert memory.peak > 0
    usable.empty_cache()
    assert usable.describe()


def test_seeding_reaches_every_generator(usable):
    def draw():
        usable.seed_all(5)
        on_device = torch.rand(2, device=usable.current_device())
        return [random.random(), numpy.random.rand(), torch.rand(1).item(), *on_device.tolist()]

    assert draw() == draw()


def test_doctor_rows_say_what_to_do(usable):
    rows = usable.doctor()
    assert all(isinstance(row, Check) for row in rows)
    assert all(row.ok or row.todo for row in rows)
    assert any("memory" in row.name for row in rows)


def test_environment_is_set_only_where_unset(backend):
    for role in ("train", "rollout"):
        wanted = dict(backend.environment.get(role, {}))
        env: dict[str, str] = {}
        assert backend.default_env(role, env) == sorted(wanted)
        assert env == wanted
        kept = dict.fromkeys(wanted, "mine")
        assert backend.default_env(role, kept) == []
        assert set(kept.values()) <= {"mine"}


def test_compute_dtype():
    modest = Backend("old", "cpu", "gloo", chips=(Chip("old", Capabilities(bf16=False)),))
    assert modest.compute_dtype() == "float32"
    assert modest.compute_dtype("float16") == "float16"
    with pytest.raises(
        BackendError, match=r"bfloat16 cannot be used on old: .* Use --torch_dtype float16"
    ):
        modest.compute_dtype("bfloat16")
    assert detect("cpu").compute_dtype() == "bfloat16"


def test_more_processes_than_devices_is_an_error(monkeypatch):
    class One(Backend):
        def count(self):
            return 1

    one = One("one", "cpu", "gloo", visible_env="ONE_VISIBLE")
    with pytest.raises(BackendError, match=r"number 1 .* 1 one device.*ONE_VISIBLE"):
        one.set_device(1)


def test_probe_order_prefers_ascend_to_what_imitates_another(monkeypatch):
    monkeypatch.setattr(Backend, "available", lambda self: True)
    assert detect().name == "ascend"


def test_unknown_backend():
    with pytest.raises(ConfigError, match="Did you mean 'cuda'"):
        detect("cuda1")


def test_a_plugins_backend_is_asked_first(monkeypatch):
    class Mine(Backend):
        def available(self):
            return True

    monkeypatch.setitem(BACKENDS._registered, "mine", Mine("mine", "cpu", "gloo"))
    assert detect().name == "mine"
