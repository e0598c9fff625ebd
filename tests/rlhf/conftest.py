"""What tiny runs replace is put back after each file."""

import pytest

from swiftrl.rlhf import report


@pytest.fixture(scope="module", autouse=True)
def _curves():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "draw_curves", report.draw_curves)  # tiny_run draws none
        yield
