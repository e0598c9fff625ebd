"""The DPO algorithm over token log-probabilities: sums, means, options, metrics, errors."""

import math

import pytest
import torch

from swiftrl.core.errors import ConfigError
from swiftrl.rlhf.algorithm import LossInputs
from swiftrl.rlhf.algorithms.dpo import LOSS_TYPES, Dpo, DpoConfig
from swiftrl.rlhf.dpo_losses import LOSSES

# Two pairs: replies of 2 and 1 tokens, then of 1 and 3 tokens.
INDEX = torch.tensor([0, 0, 1, 2, 3, 3, 3])
LOGPS = torch.tensor([-1.0, -2.0, -1.5, -0.5, -1.0, -1.0, -2.0], dtype=torch.float64)
REF = torch.tensor([-1.5, -2.5, -1.0, -1.0, -0.5, -1.5, -1.0], dtype=torch.float64)


def inputs(**changes) -> LossInputs:
    values = {
        "logps": LOGPS,
        "ref_logps": REF,
        "sequence_index": INDEX,
        "weights": torch.ones(7, dtype=torch.float64),
        "num_sequences": 4,
    }
    return LossInputs(**(values | changes))


def loss_of(config: DpoConfig, **changes) -> float:
    output = Dpo(config).loss(inputs(**changes))
    return float(output.sum) / float(output.count)


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


def test_sigmoid_sums_tokens():
    """Log-ratio sums: pair 1: 1.0 and -0.5; pair 2: 0.5 and -1.0. Both margins are 1.5."""
    assert loss_of(DpoConfig(beta=0.5)) == pytest.approx(softplus(-0.75))


def test_another_divergence_changes_the_rewards():
    """Log-ratios (1, -0.5) and (0.5, -1) become 1 - e^-x before beta."""
    config = DpoConfig(beta=0.5, f_divergence_type="forward_kl")
    first = math.exp(0.5) - math.exp(-1.0)
    second = math.exp(1.0) - math.exp(-0.5)
    expected = (softplus(-0.5 * first) + softplus(-0.5 * second)) / 2
    assert loss_of(config) == pytest.approx(expected)


def test_ipo_averages_tokens():
    """Means: pair 1: 0.5 and -0.5; pair 2: 0.5 and -1/3."""
    expected = ((1.0 - 1.0) ** 2 + (5 / 6 - 1.0) ** 2) / 2
    assert loss_of(DpoConfig(beta=0.5, loss_type=["ipo"])) == pytest.approx(expected)


def test_metrics_by_hand():
    output = Dpo(DpoConfig(beta=0.5)).loss(inputs())
    metrics = {name: float(total) / float(count) for name, (total, count) in output.metrics.items()}
    assert metrics["rewards/accuracies"] == 1.0
    assert metrics["rewards/margins"] == pytest.approx(0.75)
    assert metrics["rewards/chosen"] == pytest.approx(0.5 * (1.0 + 0.5) / 2)
    assert metrics["logps/chosen"] == pytest.approx((-3.0 - 0.5) / 2)
    assert metrics["nll_loss"] == pytest.approx((1.5 + 0.5) / 2)


def test_a_tie_counts_half():
    output = Dpo(DpoConfig()).loss(inputs(ref_logps=LOGPS))
    total, count = output.metrics["rewards/accuracies"]
    assert float(total) / float(count) == 0.5


def test_rpo_adds_the_mean_nll_of_the_chosen():
    plain = loss_of(DpoConfig())
    assert loss_of(DpoConfig(rpo_alpha=0.5)) == pytest.approx(plain + 0.5 * (1.5 + 0.5) / 2)


def test_ld_alpha_zero_ignores_excess_tokens():
    """Only the first token of each reply is shared: margins .5 + .5 and .5 + .5."""
    assert loss_of(DpoConfig(beta=1.0, ld_alpha=0.0)) == pytest.approx(softplus(-1.0))


def test_ld_alpha_one_is_dpo():
    assert loss_of(DpoConfig(ld_alpha=1.0)) == pytest.approx(loss_of(DpoConfig()))


def test_weighting_by_hand():
    """Means of log p - collision: pair 1: -0.5 and -0.5; pair 2: 0.5 and -1/3.

    (-1 + 1 - 2 + 1) / 2, -1.5 + 1, -0.5 + 1, (-1 - 1 - 2 + 3) / 3. Both margins are 1.5.
    """
    config = DpoConfig(beta=0.5, use_weighting=True, rpo_alpha=1.0)
    values = {"collision": torch.full((7,), -1.0, dtype=torch.float64)}
    weights = math.exp(-0.5 - 0.5), math.exp(0.5 - 1 / 3)
    expected = (sum(weights) * softplus(-0.75) + 1.5 + 0.5) / 2
    assert loss_of(config, token_values=values) == pytest.approx(expected)


def test_weights_have_no_gradient():
    logps = LOGPS.clone().requires_grad_()
    values = {"collision": torch.full((7,), -1.0, dtype=torch.float64)}
    plain, weighted = (
        Dpo(DpoConfig(use_weighting=on)).loss(inputs(logps=logps, token_values=values)).sum
        for on in (False, True)
    )
    (gradient,) = torch.autograd.grad(weighted, logps)
    (expected,) = torch.autograd.grad(plain, logps)
    by_pair = torch.tensor([math.exp(-1.0)] * 3 + [math.exp(1 / 6)] * 4, dtype=torch.float64)
    torch.testing.assert_close(gradient, expected * by_pair)


def test_losses_add_with_weights():
    both = DpoConfig(loss_type=["sigmoid", "sft"], loss_weights=[0.8, 0.2])
    expected = 0.8 * loss_of(DpoConfig()) + 0.2 * loss_of(DpoConfig(loss_type=["sft"]))
    assert loss_of(both) == pytest.approx(expected)


def test_token_weights_scale_log_probabilities():
    half = loss_of(DpoConfig(beta=1.0), weights=torch.full((7,), 0.5, dtype=torch.float64))
    assert half == pytest.approx(loss_of(DpoConfig(beta=0.5)))


def test_bco_keeps_a_running_mean():
    """Log-ratios 1, -0.5, 0.5, -1: mean 0. A second batch shifted by 1 moves the mean to 0.5."""
    algorithm = Dpo(DpoConfig(beta=1.0, loss_type=["bco_pair"]))
    algorithm.loss(inputs())
    assert algorithm.state_dict()["reward_count"] == 4
    assert algorithm.state_dict()["reward_sum"] == pytest.approx(0.0)
    algorithm.loss(inputs(training=False))
    assert algorithm.state_dict()["reward_count"] == 4
    resumed = Dpo(DpoConfig(beta=1.0, loss_type=["bco_pair"]))
    resumed.load_state_dict(algorithm.state_dict())
    shifted = REF.clone()
    shifted[[0, 2, 3, 4]] -= 1
    resumed.loss(inputs(ref_logps=shifted))
    assert resumed.state_dict()["reward_sum"] / 8 == pytest.approx(0.5)


def test_every_loss_type_has_a_loss_and_a_gradient():
    assert set(LOSSES) == set(LOSS_TYPES)
    for kind in LOSS_TYPES:
        logps = LOGPS.clone().requires_grad_()
        Dpo(DpoConfig(loss_type=[kind])).loss(inputs(logps=logps)).sum.backward()
        assert logps.grad is not None
        assert torch.isfinite(logps.grad).all(), kind
        assert logps.grad.abs().sum() > 0, kind


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (DpoConfig(use_weighting=True, loss_type=["sigmoid", "aot"]), "aot compares quantiles"),
        (DpoConfig(beta=0.0), "--beta 0.0"),
        (DpoConfig(loss_type=[]), "--loss_type"),
        (DpoConfig(loss_type=["sigmoid", "sft"], loss_weights=[1.0]), "1 weights for 2"),
        (DpoConfig(ld_alpha=1.5), "--ld_alpha 1.5"),
        (DpoConfig(label_smoothing=0.5), "not including, 0.5"),
        (DpoConfig(label_smoothing=0.1, loss_type=["hinge"]), "hinge has no label smoothing"),
        (DpoConfig(label_smoothing=0.0, loss_type=["exo_pair"]), "exo_pair needs more than 0"),
        (DpoConfig(discopop_tau=0.0), "--discopop_tau"),
        (DpoConfig(f_divergence_type="forward_kl", loss_type=["ipo"]), "ipo needs reverse_kl"),
    ],
)
def test_settings_that_cannot_be_meant(config, words):
    with pytest.raises(ConfigError, match=words.replace("(", r"\(")):
        Dpo(config)
