"""Weights for the gap between engine and trainer: numbers derived by hand."""

import math

import pytest
import torch

from swiftrl.rlhf.importance import engine_corrections

INDEX = torch.tensor([0, 0, 1, 1])

# Ratios 4, 1 | 0.5, 1.5 : geometric means 2, sqrt 0.75; products 4, 0.75.
RATIOS = torch.tensor([4.0, 1.0, 0.5, 1.5])


def corrections(mode, cap, ratios=RATIOS, **settings):
    return engine_corrections(
        ratios.log(), torch.zeros(4), INDEX, 2, mode=mode, cap=cap, **settings
    )


def near(*values: float):
    return pytest.approx(list(values), abs=1e-6)


def test_token_modes_by_hand():
    assert corrections("token_truncate", 2.0)[0].tolist() == near(2, 1, 0.5, 1.5)
    assert corrections("token_mask", 2.0)[0].tolist() == near(0, 1, 0.5, 1.5)


def test_sequence_modes_by_hand():
    low = math.sqrt(0.75)
    assert corrections("sequence_truncate", 1.8)[0].tolist() == near(1.8, 1.8, low, low)
    assert corrections("sequence_mask", 1.8)[0].tolist() == near(0, 0, 0.5, 1.5)
    assert corrections("sequence_mask", 2.1)[0].tolist() == near(4, 1, 0.5, 1.5)


def test_products_of_sequences_by_hand():
    truncated, _ = corrections("sequence_truncate", 3.0, sequence_ratio="sum")
    assert truncated.tolist() == near(3, 3, 0.75, 0.75)
    masked, _ = corrections("sequence_mask", 2.1, sequence_ratio="sum")
    assert masked.tolist() == near(0, 0, 0.5, 1.5)


def test_metrics_by_hand():
    """|log r| sums to ln 4 + ln 2 + ln 1.5; k3 with x = log r: sum of r - 1 - log r."""
    _, metrics = corrections("token_truncate", 2.0)
    values = {name: float(total) / count for name, (total, count) in metrics.items()}
    logs = [math.log(r) for r in RATIOS.tolist()]
    assert values == pytest.approx(
        {
            "engine_gap": sum(map(abs, logs)) / 4,
            "engine_kl": (7 - 4 - sum(logs)) / 4,
            "importance_weight": 5 / 4,
            "importance_capped": 1 / 4,
            "engine_unknown": 0,
        },
        abs=1e-6,
    )


def test_engine_equal_to_trainer_changes_nothing():
    for mode in ("token_truncate", "token_mask", "sequence_truncate", "sequence_mask"):
        weights, metrics = corrections(mode, 2.0, ratios=torch.ones(4))
        assert weights.tolist() == [1.0] * 4
        assert float(metrics["engine_kl"][0]) == 0


def test_unknown_engine_probabilities_count_as_equal():
    engine = torch.tensor([float("nan"), 0.0, 0.0, 0.0])
    weights, metrics = engine_corrections(
        RATIOS.log(), engine, INDEX, 2, mode="token_mask", cap=2.0
    )
    assert weights.tolist() == near(1, 1, 0.5, 1.5)
    assert float(metrics["engine_unknown"][0]) == 1
    assert metrics["engine_gap"][1] == 3


def test_trap_3_weights_stay_finite():
    ratios = torch.tensor([1e4, -1e4, 1e4, 1e4])
    for mode in ("token_truncate", "token_mask", "sequence_truncate", "sequence_mask"):
        old = ratios.clone().requires_grad_()
        weights, metrics = engine_corrections(
            old, torch.zeros(4), INDEX, 2, mode=mode, cap=2.0, sequence_ratio="sum"
        )
        assert weights.isfinite().all()
        assert not weights.requires_grad
        assert all(math.isfinite(float(total)) for total, _ in metrics.values())


def test_unknown_mode_is_named():
    with pytest.raises(ValueError, match="'token_drop'; expected token or sequence"):
        corrections("token_drop", 2.0)
