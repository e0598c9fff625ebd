"""Preference losses: numbers derived by hand, identities, and gradients."""

import math

import pytest
import torch

from swiftrl.rlhf import offline

LN2 = math.log(2)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def t(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_dpo_by_hand():
    """Log-ratios 1 and -1, beta 0.5: logit 1, loss -ln sigmoid(1) = ln(1 + 1/e) = 0.313262."""
    assert offline.dpo_loss(t(1.0), t(-1.0), beta=0.5).item() == pytest.approx(0.3132616875)


def test_dpo_with_smoothing_by_hand():
    """Logit 1, e = 0.2: 0.8 ln(1 + 1/e) + 0.2 ln(1 + e) = 0.2506094 + 0.2626523."""
    loss = offline.dpo_loss(t(1.0), t(-1.0), beta=0.5, label_smoothing=0.2)
    assert loss.item() == pytest.approx(0.8 * 0.3132616875 + 0.2 * 1.3132616875)


def test_robust_by_hand():
    """Logit 1, e = 0.2: (0.8 * 0.313262 - 0.2 * 1.313262) / 0.6 = -0.020072."""
    loss = offline.robust_dpo_loss(t(1.0), t(-1.0), beta=0.5, label_smoothing=0.2)
    assert loss.item() == pytest.approx(-0.0200716458, rel=1e-6)


def test_ipo_by_hand():
    """Means 0.5 and -0.25, tau 0.1: (0.75 - 5)^2 = 18.0625."""
    assert offline.ipo_loss(t(0.5), t(-0.25), beta=0.1).item() == pytest.approx(18.0625)


def test_hinge_by_hand():
    """1 - 0.5 * (1 - 0) = 0.5; beyond the margin it is 0."""
    loss = offline.hinge_loss(t(1.0, 4.0), t(0.0, 0.0), beta=0.5)
    assert loss.tolist() == pytest.approx([0.5, 0.0])


def test_exo_by_hand():
    """Logit ln 3, e = 0.1: q = (3/4, 1/4), p = (0.9, 0.1): KL = .75 ln(.75/.9) + .25 ln(.25/.1)."""
    loss = offline.exo_pair_loss(t(math.log(3)), t(0.0), beta=1.0, label_smoothing=0.1)
    expected = 0.75 * math.log(0.75 / 0.9) + 0.25 * math.log(0.25 / 0.1)
    assert loss.item() == pytest.approx(expected)


def test_nca_by_hand():
    """Rewards ln 3 and 0: -ln(3/4) - ln(1/4)/2 - ln(1/2)/2 = ln(4/3) + ln 2 + ln(2)/2."""
    loss = offline.nca_pair_loss(t(math.log(3)), t(0.0), beta=1.0)
    assert loss.item() == pytest.approx(math.log(4 / 3) + LN2 + LN2 / 2)


def test_bco_by_hand():
    """Rewards ln 3 and 0, shift ln 3: -ln(1/2) - ln sigmoid(ln 3) = ln 2 + ln(4/3)."""
    loss = offline.bco_pair_loss(t(math.log(3)), t(0.0), beta=1.0, delta=math.log(3))
    assert loss.item() == pytest.approx(LN2 + math.log(4 / 3))


def test_sppo_by_hand():
    """Beta 0.5: (2 - 1)^2 + (-3 + 1)^2 = 5."""
    assert offline.sppo_hard_loss(t(2.0), t(-3.0), beta=0.5).item() == pytest.approx(5.0)


def test_apo_zero_by_hand():
    """Rewards ln 3 and -ln 3: sigmoid(-ln 3) twice = 1/4 + 1/4."""
    loss = offline.apo_zero_loss(t(math.log(3)), t(-math.log(3)), beta=1.0)
    assert loss.item() == pytest.approx(0.5)


def test_apo_down_by_hand():
    """Rewards ln 3 and 0: 3/4 + (1 - 3/4) = 1."""
    assert offline.apo_down_loss(t(math.log(3)), t(0.0), beta=1.0).item() == pytest.approx(1.0)


def test_discopop_by_hand():
    """Logit 0.05, tau 0.05: gate sigmoid(1), logistic ln(1 + e^-.05), exponential e^-.05."""
    loss = offline.discopop_loss(t(0.05), t(0.0), beta=1.0, tau=0.05)
    gate = sigmoid(1)
    expected = math.log1p(math.exp(-0.05)) * (1 - gate) + math.exp(-0.05) * gate
    assert loss.item() == pytest.approx(expected)


def test_sigmoid_norm_by_hand():
    assert offline.sigmoid_norm_loss(t(0.5), t(-0.5), beta=2.0).item() == pytest.approx(
        math.log1p(math.exp(-2))
    )


def test_aot_sorts_margins():
    """Policy margins (3, 1), reference (0, 2): sorted (1, 3) - (0, 2) = (1, 1)."""
    loss = offline.aot_loss(t(3.0, 1.0), t(0.0, 2.0), beta=1.0)
    assert loss.tolist() == pytest.approx([0.3132616875] * 2)


def test_aot_unpaired_sorts_each_side():
    """Chosen (3, 1), rejected (0, 2): sorted (1, 3) - (0, 2) = (1, 1)."""
    loss = offline.aot_unpaired_loss(t(3.0, 1.0), t(0.0, 2.0), beta=1.0)
    assert loss.tolist() == pytest.approx([0.3132616875] * 2)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("dpo_loss", LN2),
        ("sigmoid_norm_loss", LN2),
        ("hinge_loss", 1.0),
        ("nca_pair_loss", 2 * LN2),
        ("bco_pair_loss", 2 * LN2),
        ("apo_zero_loss", 1.0),
        ("apo_down_loss", 1.0),
        ("ipo_loss", 25.0),
        ("sppo_hard_loss", 50.0),
        ("aot_unpaired_loss", LN2),
    ],
)
def test_policy_equal_to_reference(name, expected):
    """At the start of training all log-ratios are 0, and each loss is a known constant."""
    loss = getattr(offline, name)(torch.zeros(3), torch.zeros(3), beta=0.1)
    assert loss.mean().item() == pytest.approx(expected, rel=1e-6)


PAIR_LOSSES = {
    "dpo_loss": {"label_smoothing": 0.1},
    "robust_dpo_loss": {"label_smoothing": 0.1},
    "exo_pair_loss": {"label_smoothing": 0.01},
    "ipo_loss": {},
    "sigmoid_norm_loss": {},
    "nca_pair_loss": {},
    "bco_pair_loss": {"delta": 0.3},
    "sppo_hard_loss": {},
    "apo_zero_loss": {},
    "apo_down_loss": {},
    "discopop_loss": {"tau": 0.5},
    "aot_unpaired_loss": {},
    "aot_loss": {},
}


@pytest.mark.parametrize("name", PAIR_LOSSES)
def test_gradients(name):
    generator = torch.Generator().manual_seed(0)
    chosen = torch.randn(5, generator=generator, dtype=torch.float64, requires_grad=True)
    rejected = torch.randn(5, generator=generator, dtype=torch.float64, requires_grad=True)
    function = getattr(offline, name)
    assert torch.autograd.gradcheck(
        lambda c, r: function(c, r, beta=0.7, **PAIR_LOSSES[name]), (chosen, rejected)
    )


@pytest.mark.parametrize("name", PAIR_LOSSES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_extreme_log_ratios_stay_finite(name, dtype):
    """A log-ratio of 200 nats either way gives finite losses and gradients."""
    chosen = torch.tensor([200.0, -200.0], dtype=dtype, requires_grad=True)
    rejected = torch.tensor([-200.0, 200.0], dtype=dtype)
    kwargs = PAIR_LOSSES[name]
    loss = getattr(offline, name)(chosen, rejected, beta=0.1, **kwargs)
    loss.float().sum().backward()
    assert torch.isfinite(loss).all()
    assert torch.isfinite(chosen.grad).all()


def test_length_desensitised_weights():
    """Replies of 3 and 1 tokens share 1: the two extra tokens of the longer count alpha."""
    index = torch.tensor([0, 0, 0, 1, 2, 3, 3])
    weights = offline.length_desensitised_weights(index, 4, alpha=0.25)
    assert weights.tolist() == [1, 0.25, 0.25, 1, 1, 1, 0.25]


def test_dft_weighs_by_detached_probability():
    """p = 1/2: loss 0.5 ln 2 and gradient -0.5 with respect to log p."""
    logps = torch.tensor([math.log(0.5)], dtype=torch.float64, requires_grad=True)
    loss = offline.dft_loss(logps)
    loss.sum().backward()
    assert loss.item() == pytest.approx(0.5 * LN2)
    assert logps.grad.item() == pytest.approx(-0.5)


@pytest.mark.parametrize(
    ("divergence", "alpha", "expected"),
    [
        ("reverse_kl", 0.5, math.log(4)),
        ("forward_kl", 0.5, 1 - 1 / 4),
        ("js_divergence", 0.5, math.log(8 / 5)),
        ("alpha_divergence", 0.5, (1 / 2 - 1) / -0.5),
        ("alpha_divergence", 0.0, 1 - 1 / 4),
        ("alpha_divergence", 1.0, math.log(4)),
    ],
)
def test_f_derivatives_by_hand(divergence, alpha, expected):
    """At u = 4; every one is 0 at u = 1, and its gradient is right."""
    ratio = t(math.log(4), 0.0).requires_grad_()

    def derivative(value):
        return offline.f_derivative(value, divergence=divergence, alpha=alpha)

    assert derivative(ratio).tolist() == pytest.approx([expected, 0.0], abs=1e-12)
    assert torch.autograd.gradcheck(derivative, (ratio,))
    assert derivative(t(-1e4, 1e4)).isfinite().all()
