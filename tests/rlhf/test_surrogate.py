"""Surrogate losses, KL estimates and their sums: numbers derived by hand, and the traps."""

import math

import pytest
import torch

from swiftrl.rlhf import surrogate

LN2 = math.log(2)

# Three sequences of 2, 3 and 1 tokens.
INDEX = torch.tensor([0, 0, 1, 1, 1, 2])


def t(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def near(*values: float, abs: float = 1e-9):
    return pytest.approx(list(values), abs=abs)


def log(*ratios: float) -> torch.Tensor:
    return t(*ratios).log()


def gradient(loss: torch.Tensor, logps: torch.Tensor) -> list[float]:
    return torch.autograd.grad(loss.sum(), logps)[0].tolist()


def test_log_ratios_by_hand():
    """Token differences 1, 3 | 0, 3, 6 | -2: sequence means 2, 3, -2, sums 4, 9, -2."""
    logps, old = t(-1, -1, -2, -2, -2, -5), t(-2, -4, -2, -5, -8, -3)
    token = surrogate.log_ratios(logps, old, INDEX, 3, level="token")
    assert token.tolist() == [1, 3, 0, 3, 6, -2]
    for level in ("sequence", "sequence_token"):
        ratios = surrogate.log_ratios(logps, old, INDEX, 3, level=level)
        assert ratios.tolist() == near(2, 2, 3, 3, 3, -2)
    summed = surrogate.log_ratios(logps, old, INDEX, 3, level="sequence_sum")
    assert summed.tolist() == near(4, 4, 9, 9, 9, -2)


def test_gradients_of_the_levels():
    """Of sequence 1's second token: to itself, or to all three, by a third where it is a mean."""
    expected = {"token": [0, 0, 0, 1, 0, 0], "sequence_token": [0, 0, 0, 1, 0, 0]}
    expected["sequence"] = [0, 0, 1 / 3, 1 / 3, 1 / 3, 0]
    expected["sequence_sum"] = [0, 0, 1, 1, 1, 0]
    for level, row in expected.items():
        logps = t(-1, -1, -2, -2, -2, -5).requires_grad_()
        ratios = surrogate.log_ratios(logps, logps.detach() - 1, INDEX, 3, level=level)
        assert gradient(ratios[3], logps) == near(*row)


def test_unknown_names_are_named():
    with pytest.raises(ValueError, match="level is 'word'; expected token"):
        surrogate.log_ratios(t(0), t(0), INDEX[:1], 1, level="word")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="kind is 'k4'; expected k1"):
        surrogate.kl_estimate(t(0), t(0), kind="k4")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="how is 'constant' and max_length None"):
        surrogate.aggregate(t(0), t(1), INDEX[:1], 1, how="constant")


def test_clip_by_hand():
    """Ratios 1.5, 0.5 and 1.1 with advantages 2 and -2, epsilon 0.2.

    A = 2: min(3, 2.4), min(1, 1.6), min(2.2, 2.2). A = -2: min(-3, -2.4), min(-1, -1.6), -2.2.
    """
    ratios = log(1.5, 0.5, 1.1, 1.5, 0.5, 1.1)
    loss, clipped = surrogate.clipped_surrogate(ratios, t(2, 2, 2, -2, -2, -2), epsilon=0.2)
    assert loss.tolist() == near(-2.4, -1, -2.2, 3, 1.6, 2.2)
    assert clipped.tolist() == [True, False, False, False, True, False]


def test_clip_higher_by_hand():
    """Epsilon 0.2 and 0.28: ratio 1.25 is not clipped, 1.5 is at 1.28."""
    loss, clipped = surrogate.clipped_surrogate(
        log(1.25, 1.5), t(1, 1), epsilon=0.2, epsilon_high=0.28
    )
    assert loss.tolist() == near(-1.25, -1.28)
    assert clipped.tolist() == [False, True]


def test_dual_clip_by_hand():
    """Delta 3: ratio 5 counts 3 where A < 0; where A > 0 it is clipped at 1.2 as ever."""
    loss, clipped = surrogate.clipped_surrogate(log(5, 2, 5), t(-2, -2, 2), epsilon=0.2, delta=3.0)
    assert loss.tolist() == near(6, 4, -2.4)
    assert clipped.tolist() == [True, False, True]


def test_zero_advantage_is_never_clipped():
    loss, clipped = surrogate.clipped_surrogate(log(5, 0.1), t(0, 0), epsilon=0.2, delta=3.0)
    assert loss.tolist() == [0, 0]
    assert clipped.tolist() == [False, False]


def test_cispo_by_hand():
    """Bound 1 + 0.5: ratios 3 and 0.25 weigh 1.5 and 0.25; the gradient is -weight * A for both."""
    logps = t(-2, -4).requires_grad_()
    loss = surrogate.cispo_surrogate(logps, log(3, 0.25), t(2, -1), epsilon_high=0.5)
    assert loss.tolist() == near(6, -1)
    assert gradient(loss, logps) == near(-3, 0.25)


def test_cispo_takes_no_gradient_through_the_ratio():
    logps = t(-2).requires_grad_()
    ratio = surrogate.log_ratios(logps, t(-2), INDEX[:1], 1, level="token")
    loss = surrogate.cispo_surrogate(logps, ratio, t(1), epsilon_high=4)
    assert gradient(loss, logps) == near(-1)


def test_sapo_by_hand():
    """Ratio 2, tau 1: 4 sigmoid(1) A = 2.9242343; A = -1, tau 2: -4 / 2 sigmoid(2) = -1.7615942."""
    loss = surrogate.sapo_surrogate(log(2, 2), t(1, -1), tau_pos=1, tau_neg=2)
    assert loss.tolist() == near(-2.9242343145, 1.7615941560)


def test_sapo_at_ratio_one_has_the_gradient_of_reinforce():
    """4 / tau * tau * sigmoid'(0) = 1: grad -A."""
    logps = t(-1, -3).requires_grad_()
    loss = surrogate.sapo_surrogate(logps - logps.detach(), t(2, -1), tau_pos=1.0, tau_neg=1.05)
    assert gradient(loss, logps) == near(-2, 1)


def test_gmpo_by_hand():
    """Epsilon 0.4. A = 1: log-ratios 1, -1 count 0.4, -1, mean -0.3. A = -2: 0.5, -1, 0.8 count
    0.5, -0.4, 0.8, mean 0.3. A = 1: -0.3 stays."""
    ratios = t(1, -1, 0.5, -1, 0.8, -0.3)
    loss, clipped = surrogate.gmpo_surrogate(ratios, t(1, 1, -2, -2, -2, 1), INDEX, 3, epsilon=0.4)
    first, second = -math.exp(-0.3), 2 * math.exp(0.3)
    assert loss.tolist() == near(first, first, second, second, second, first)
    assert clipped.tolist() == [True, False, False, True, False, False]


def test_reinforce_by_hand():
    assert surrogate.reinforce_surrogate(t(-2, -3), t(1, -0.5)).tolist() == [2, -1.5]


def test_kl_by_hand():
    """log pi = ln 0.5, log ref = ln 0.25: x = -ln 2. k1 ln 2, k2 (ln 2)^2 / 2, k3 ln 2 - 1/2."""
    logps, ref = log(0.5), log(0.25)
    values = {
        kind: surrogate.kl_estimate(logps, ref, kind=kind).item()
        for kind in ("k1", "k2", "k3", "k1+", "k3+")
    }
    k1, k2, k3 = LN2, LN2**2 / 2, LN2 - 0.5
    assert values == pytest.approx({"k1": k1, "k2": k2, "k3": k3, "k1+": k1, "k3+": k3})


def test_trap_4_values_and_gradients_of_kl_estimators():
    """Exact expectations over pi = (0.7, 0.2, 0.1), ref = (0.5, 0.3, 0.2), by logits.

    k1 and k3 have the value KL(pi || ref). As losses k1's expected gradient is 0, k2's is that of
    KL(pi || ref), k3's that of KL(ref || pi); the straight-through kinds have k2's.
    """
    logits = t(0.7, 0.2, 0.1).log().requires_grad_()
    ref = t(0.5, 0.3, 0.2).log()
    logps = logits.log_softmax(0)
    pi = logps.detach().exp()
    reverse = (logps.exp() * (logps - ref)).sum()
    forward = (ref.exp() * (ref - logps)).sum()
    grad_reverse, grad_forward = (
        torch.autograd.grad(kl, logits, retain_graph=True)[0].tolist() for kl in (reverse, forward)
    )
    expected = {
        "k1": (reverse.item(), [0, 0, 0]),
        "k2": (None, grad_reverse),
        "k3": (reverse.item(), grad_forward),
        "k1+": (reverse.item(), grad_reverse),
        "k3+": (reverse.item(), grad_reverse),
    }
    for kind, (value, slope) in expected.items():
        mean = (pi * surrogate.kl_estimate(logps, ref, kind=kind)).sum()
        assert value is None or mean.item() == pytest.approx(value)
        assert torch.autograd.grad(mean, logits, retain_graph=True)[0].tolist() == near(*slope)
    assert grad_forward != near(*grad_reverse, abs=1e-3)


def test_aggregations_by_hand():
    """Values 1, 3 | 2, 4, 6 | 5: sum 21 of 6 tokens; means 2 + 4 + 5 = 11 of 3; 21 / 10 of 3."""
    values, ones = t(1, 3, 2, 4, 6, 5), torch.ones(6)
    assert surrogate.aggregate(values, ones, INDEX, 3, how="token") == (21, 6)
    assert surrogate.aggregate(values, ones, INDEX, 3, how="sequence") == (11, 3)
    total, count = surrogate.aggregate(values, ones, INDEX, 3, how="constant", max_length=10)
    assert (total.item(), count) == (pytest.approx(2.1), 3)


def test_weights_act_on_sums_not_on_counts():
    """Weights 1, 0 | 2, 1, 1 | 1: 1 + 0 + 4 + 4 + 6 + 5 = 20; means 0.5 + 14 / 3 + 5."""
    values, weights = t(1, 3, 2, 4, 6, 5), t(1, 0, 2, 1, 1, 1)
    assert surrogate.aggregate(values, weights, INDEX, 3, how="token") == (20, 6)
    total, count = surrogate.aggregate(values, weights, INDEX, 3, how="sequence")
    assert (total.item(), count) == (pytest.approx(0.5 + 14 / 3 + 5), 3)


def test_sequences_without_tokens_count():
    total, count = surrogate.aggregate(t(4), torch.ones(1), INDEX[:1] + 1, 3, how="sequence")
    assert (total.item(), count) == (4, 3)


def test_k3_is_exact_near_zero():
    """x = 1e-4 in float32: x^2 / 2 = 5e-9, which e^x - 1 - x loses in 1's rounding (6e-8)."""
    kl = surrogate.kl_estimate(torch.tensor([-1e-4]), torch.tensor([0.0]), kind="k3")
    assert kl.item() == pytest.approx(5e-9, rel=0.01)
