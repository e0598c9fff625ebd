"""ORPO, SimPO, AlphaPO, CPO: numbers derived by hand, limits, gradients."""

import math

import pytest
import torch

from swiftrl.core.errors import ConfigError
from swiftrl.rlhf import reference_free as losses
from swiftrl.rlhf.algorithm import ALGORITHMS, LossInputs


def t(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_odds_by_hand():
    """p = 3/4 and 1/5: odds 3 and 1/4; one on each side of the change of formula at 1/2."""
    odds = losses.log_odds(t(math.log(0.75), math.log(0.2)))
    assert odds.tolist() == pytest.approx([math.log(3), -math.log(4)])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("logp", [0.0, -1e-12, -1e-5, -0.69, -0.7, -30.0, -500.0])
def test_odds_are_finite_at_both_ends(dtype, logp):
    value = torch.tensor([logp], dtype=dtype, requires_grad=True)
    odds = losses.log_odds(value)
    odds.sum().backward()
    assert odds.isfinite().all()
    assert value.grad is not None
    assert value.grad.isfinite().all()


def test_odds_keep_their_digits_near_certainty():
    """p = exp(-1e-5): 1 - p = 1e-5 - 5e-11, which log1p(-exp(x)) in float32 misses by percents."""
    expected = -1e-5 - math.log(-math.expm1(-1e-5))
    assert losses.log_odds(torch.tensor([-1e-5])).item() == pytest.approx(expected, rel=1e-6)


def test_orpo_by_hand():
    """Odds 3 against 1/4, ratio 12: -ln(12/13)."""
    loss = losses.orpo_loss(t(math.log(0.75)), t(math.log(0.2)))
    assert loss.item() == pytest.approx(math.log(13 / 12))


def test_simpo_by_hand():
    """Means -1 and -2, beta 2, gamma 0.5: -ln sigmoid(1.5)."""
    loss = losses.simpo_loss(t(-1.0), t(-2.0), beta=2.0, gamma=0.5)
    assert loss.item() == pytest.approx(math.log1p(math.exp(-1.5)))


def test_simpo_with_smoothing_by_hand():
    loss = losses.simpo_loss(t(-1.0), t(-2.0), beta=2.0, gamma=0.5, label_smoothing=0.1)
    expected = 0.9 * math.log1p(math.exp(-1.5)) + 0.1 * math.log1p(math.exp(1.5))
    assert loss.item() == pytest.approx(expected)


def test_alphapo_by_hand():
    """p = 1/4, alpha 1/2: (1 - 2) / 0.5 = -2; alpha -> 0 is log p; alpha -1: p - 1, times -1/-1."""
    value = t(math.log(0.25))
    assert losses.alphapo_reward(value, alpha=0.5).item() == pytest.approx(-2.0)
    assert losses.alphapo_reward(value, alpha=-1.0).item() == pytest.approx(-0.75)
    assert losses.alphapo_reward(value, alpha=0.0) is value
    assert losses.alphapo_reward(value, alpha=1e-7).item() == pytest.approx(value.item(), rel=1e-6)
    assert losses.alphapo_reward(t(-1e6), alpha=2.0).isfinite().all()


def test_cpo_by_hand():
    """Sums -4 and -6, beta 0.5: logit 1."""
    assert losses.cpo_loss(t(-4.0), t(-6.0), beta=0.5).item() == pytest.approx(0.3132616875)
    assert losses.cpo_hinge_loss(t(-4.0), t(-5.0), beta=0.5).item() == pytest.approx(0.5)
    assert losses.cpo_ipo_loss(t(-1.0), t(-1.5), beta=0.1).item() == pytest.approx(20.25)


@pytest.mark.parametrize(
    "loss",
    [
        losses.orpo_loss,
        lambda a, b: losses.simpo_loss(a, b, beta=2.0, gamma=1.0, label_smoothing=0.1),
        lambda a, b: losses.simpo_loss(
            losses.alphapo_reward(a, alpha=0.3),
            losses.alphapo_reward(b, alpha=0.3),
            beta=2.0,
            gamma=1.0,
        ),
        lambda a, b: losses.cpo_loss(a, b, beta=0.3),
        lambda a, b: losses.cpo_hinge_loss(a, b, beta=0.3),
        lambda a, b: losses.cpo_ipo_loss(a, b, beta=0.3),
    ],
)
def test_gradients(loss):
    torch.manual_seed(0)
    chosen = (-3 * torch.rand(6, dtype=torch.float64) - 0.01).requires_grad_()
    rejected = (-3 * torch.rand(6, dtype=torch.float64) - 0.01).requires_grad_()
    assert torch.autograd.gradcheck(loss, (chosen, rejected))


def inputs_of(chosen: list[list[float]], rejected: list[list[float]]) -> LossInputs:
    sequences = [part for pair in zip(chosen, rejected, strict=True) for part in pair]
    index = [number for number, part in enumerate(sequences) for _ in part]
    return LossInputs(
        logps=torch.tensor([value for part in sequences for value in part], dtype=torch.float64),
        ref_logps=None,
        sequence_index=torch.tensor(index),
        weights=torch.ones(len(index), dtype=torch.float64),
        num_sequences=len(sequences),
    )


def loss_of(name: str, inputs: LossInputs, **options) -> tuple[float, float]:
    kind = ALGORITHMS.get(name)
    output = kind(kind.Config(**options)).loss(inputs)
    return float(output.sum), float(output.count)


def test_algorithms_average_by_reply_and_add_the_likelihood():
    """One pair: tokens (-1, -2) and (-3): means -1.5 and -3, sums -3 and -3."""
    inputs = inputs_of([[-1.0, -2.0]], [[-3.0]])
    odds = losses.orpo_loss(t(-1.5), t(-3.0)).item()
    assert loss_of("orpo", inputs, beta=0.2) == pytest.approx((0.2 * odds + 1.5, 1.0))
    simpo = math.log1p(math.exp(-(2 * 1.5 - 1)))
    assert loss_of("simpo", inputs) == pytest.approx((simpo + 1.5, 1.0))
    assert loss_of("simpo", inputs, cpo_alpha=0.0) == pytest.approx((simpo, 1.0))
    assert loss_of("cpo", inputs) == pytest.approx((math.log(2) + 1.5, 1.0))
    options = {"beta": 2.0, "loss_type": "simpo", "cpo_alpha": 0.0}
    assert loss_of("cpo", inputs, **options) == pytest.approx((simpo, 1.0))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("orpo", {"beta": 0.0}, "--beta 0.0: expected a number above 0."),
        ("simpo", {"cpo_alpha": -1.0}, "--cpo_alpha -1.0: expected 0 or more."),
        ("simpo", {"label_smoothing": 0.5}, "--label_smoothing 0.5: expected 0 up to"),
        ("cpo", {"label_smoothing": 0.1, "loss_type": "ipo"}, "--loss_type ipo has none"),
    ],
)
def test_settings_that_cannot_be(name, options, message):
    kind = ALGORITHMS.get(name)
    with pytest.raises(ConfigError) as caught:
        kind(kind.Config(**options))
    assert message in str(caught.value)
