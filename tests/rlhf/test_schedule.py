import math

import pytest

from swiftrl.core.errors import ConfigError
from swiftrl.rlhf.config import TrainConfig
from swiftrl.rlhf.schedule import Schedule, make_schedule


def test_warm_up_rises_to_the_peak():
    # Two steps of warm-up: a third, two thirds, then the peak.
    schedule = Schedule("constant", 3.0, warmup_steps=2, total_steps=10)
    assert [schedule.at(step) for step in range(4)] == pytest.approx([1.0, 2.0, 3.0, 3.0])


@pytest.mark.parametrize(
    ("shape", "halfway", "last"),
    [
        ("constant", 1.0, 1.0),
        ("linear", 0.5, 0.01),
        ("cosine", 0.5, 0.5 * (1 + math.cos(0.99 * math.pi))),
        ("cosine_with_min_lr", 0.1 + 0.9 * 0.5, 0.1 + 0.45 * (1 + math.cos(0.99 * math.pi))),
        ("wsd", 1.0, 0.05),  # stable to 80%, then linearly to 0 over 20 steps
    ],
)
def test_shapes(shape, halfway, last):
    schedule = Schedule(shape, 2.0, warmup_steps=0, total_steps=100, min_ratio=0.1)
    assert schedule.at(0) == pytest.approx(2.0)
    assert schedule.at(50) == pytest.approx(2.0 * halfway)
    assert schedule.at(99) == pytest.approx(2.0 * last)


def test_ratio_becomes_steps_and_steps_win():
    assert make_schedule(TrainConfig(warmup_ratio=0.1), peak=1, total_steps=25).warmup_steps == 3
    both = TrainConfig(warmup_ratio=0.1, warmup_steps=7)
    assert make_schedule(both, peak=1, total_steps=25).warmup_steps == 7


def test_impossible_warm_up_is_refused():
    with pytest.raises(ConfigError, match="warmup_steps: found 30; the run has 25"):
        make_schedule(TrainConfig(warmup_steps=30), peak=1, total_steps=25)
    with pytest.raises(ConfigError, match="warmup_ratio: found 3"):
        make_schedule(TrainConfig(warmup_ratio=3), peak=1, total_steps=25)
