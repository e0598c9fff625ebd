"""Every test: no network, one thread a process (tiny models run slower on several)."""

import os

import device
import pytest
from hypothesis import HealthCheck, settings

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")

# How long an example takes says how busy the machine is, not whether it is right.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


def pytest_addoption(parser):
    parser.addoption("--device", default="cpu", help="what the tests run on, e.g. npu")


def pytest_configure(config):
    device.choose(config.getoption("--device"))


@pytest.fixture(scope="session", autouse=True)
def _every_device_is_in_use():
    """torch_npu 2.13 aborts in a backward pass where another device was asked but never used."""
    if device.name() != "cpu":
        device.use_all()
