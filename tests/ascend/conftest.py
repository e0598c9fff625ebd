"""Tests that need device npu: the stand-in, or a card."""

from pathlib import Path

import device
import pytest

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items):
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.ascend)
            if device.name() != "npu":
                item.add_marker(pytest.mark.skip(reason="run by make test-ascend"))
