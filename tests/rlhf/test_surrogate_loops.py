"""Surrogate losses on random tokens: loops that know no tensor, gradients, and the traps."""

import math
import random

import pytest
import torch

from swiftrl.rlhf import surrogate


def near(*values: float, abs: float = 1e-9):
    return pytest.approx(list(values), abs=abs)


def random_tokens(seed: int):
    """Return log-probabilities, old ones, reference ones and advantages of 1 to 7 tokens each."""
    rng = random.Random(seed)
    index, advantages = [], []
    for sequence in range(9):
        length, advantage = rng.randint(1, 7), rng.gauss(0, 1)
        index += [sequence] * length
        advantages += [advantage] * length
    logps = [-rng.expovariate(1) for _ in index]
    old = [value + rng.gauss(0, 0.4) for value in logps]
    ref = [value + rng.gauss(0, 0.8) for value in logps]
    return logps, old, ref, advantages, index


def test_clipped_tokens_are_those_without_gradient():
    logps, old, _, advantages, index = (torch.tensor(x) for x in random_tokens(3))
    logps = logps.double().requires_grad_()
    ratios = surrogate.log_ratios(logps, old.double(), index, 9, level="token")
    loss, clipped = surrogate.clipped_surrogate(ratios, advantages, epsilon=0.2, delta=1.6)
    (slopes,) = torch.autograd.grad(loss.sum(), logps)
    assert 0 < clipped.sum() < len(index)
    assert torch.equal(slopes == 0, clipped)


@pytest.mark.parametrize("how", ["token", "sequence", "constant"])
def test_trap_2_loss_is_the_same_however_the_step_is_divided(how):
    logps, _, _, _, index = random_tokens(0)
    values, index = torch.tensor(logps, dtype=torch.float64), torch.tensor(index)

    def loss(*cuts: int) -> float:
        total, count = 0.0, 0.0
        for start, end in zip((0, *cuts), (*cuts, 9), strict=True):
            part = (index >= start) & (index < end)
            ones = torch.ones(int(part.sum()))
            piece = (values[part], ones, index[part] - start, end - start)
            piece_sum, piece_count = surrogate.aggregate(*piece, how=how, max_length=16)
            total, count = total + piece_sum.item(), count + piece_count
        return total / count

    assert loss(1, 2, 5, 6) == pytest.approx(loss(), rel=1e-12)
    assert loss(*range(1, 9)) == pytest.approx(loss(), rel=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("gap", [0.0, 15.0, 30.0, 1e4])
def test_trap_3_no_ratio_overflows(dtype, gap):
    """Token 1 became e^gap likelier, token 2 less so: values are finite, gradients never NaN."""
    start = torch.tensor([-1.0, -1.0 - gap], dtype=dtype)
    other = torch.tensor([-1.0 - gap, -1.0], dtype=dtype)
    advantage = torch.tensor([-1.0, 1.0])
    index = torch.tensor([0, 1])

    def check(loss_of):
        logps = start.clone().requires_grad_()
        loss = loss_of(logps)
        assert loss.dtype == torch.float32
        assert loss.isfinite().all()
        (slope,) = torch.autograd.grad(loss.sum(), logps)
        assert not slope.isnan().any()
        assert slope.isfinite().all() or dtype == torch.float16  # e^15 is inf there

    def ratio(logps, level="token"):
        return surrogate.log_ratios(logps, other, index, 2, level=level)

    for level in ("token", "sequence", "sequence_token"):
        check(
            lambda x, level=level: surrogate.clipped_surrogate(
                ratio(x, level), advantage, epsilon=0.2
            )[0]
        )
    check(lambda x: surrogate.cispo_surrogate(x, ratio(x), advantage, epsilon_high=4))
    check(lambda x: surrogate.sapo_surrogate(ratio(x), advantage, tau_pos=1, tau_neg=1.05))
    check(lambda x: surrogate.gmpo_surrogate(ratio(x), advantage, index, 2, epsilon=0.4)[0])
    for kind in ("k1", "k2", "k3", "k3+"):
        check(lambda x, kind=kind: surrogate.kl_estimate(x, other, kind=kind))


@pytest.mark.parametrize("seed", range(3))
def test_losses_equal_a_loop(seed):
    logps, old, ref, advantages, index = random_tokens(seed)
    n, lengths = len(index), [index.count(s) for s in range(9)]
    means = [
        sum(logps[i] - old[i] for i in range(n) if index[i] == s) / lengths[s] for s in range(9)
    ]

    def clip(log_ratio, a):
        r = math.exp(log_ratio)
        plain = min(r * a, min(max(r, 0.8), 1.28) * a)
        return -max(plain, 1.5 * a) if a < 0 else -plain

    def sapo(log_ratio, a):
        tau = 1.0 if a > 0 else 1.05
        return -4 / tau / (1 + math.exp(-tau * (math.exp(log_ratio) - 1))) * a

    def k3(lp, lr):
        return math.exp(lr - lp) - 1 - (lr - lp)

    x, y, z, a, k = (torch.tensor(v) for v in (logps, old, ref, advantages, index))
    token = surrogate.log_ratios(x, y, k, 9, level="token")
    sequence = surrogate.log_ratios(x, y, k, 9, level="sequence")

    def same(result, values):
        assert result.tolist() == near(*values, abs=1e-5)

    bounds = {"epsilon": 0.2, "epsilon_high": 0.28, "delta": 1.5}
    rows = range(n)
    same(
        surrogate.clipped_surrogate(token, a, **bounds)[0],
        [clip(logps[i] - old[i], advantages[i]) for i in rows],
    )
    same(
        surrogate.clipped_surrogate(sequence, a, **bounds)[0],
        [clip(means[index[i]], advantages[i]) for i in rows],
    )
    same(
        surrogate.cispo_surrogate(x, token, a, epsilon_high=0.3),
        [-min(math.exp(logps[i] - old[i]), 1.3) * advantages[i] * logps[i] for i in rows],
    )
    same(
        surrogate.sapo_surrogate(token, a, tau_pos=1.0, tau_neg=1.05),
        [sapo(logps[i] - old[i], advantages[i]) for i in rows],
    )
    same(surrogate.kl_estimate(x, z, kind="k3"), [k3(logps[i], ref[i]) for i in rows])


def test_gradients_are_those_of_finite_differences():
    logps, old, ref, advantages, index = (torch.tensor(v) for v in random_tokens(1))
    old, ref, advantages = old.double(), ref.double(), advantages.double()

    def ratio(x, level):
        return surrogate.log_ratios(x, old, index, 9, level=level)

    def check(loss):
        assert torch.autograd.gradcheck(loss, logps.double().requires_grad_())

    for level in ("token", "sequence"):
        check(
            lambda x, level=level: surrogate.clipped_surrogate(
                ratio(x, level), advantages, epsilon=0.2
            )[0]
        )
        check(
            lambda x, level=level: surrogate.sapo_surrogate(
                ratio(x, level), advantages, tau_pos=1, tau_neg=2
            )
        )
    check(
        lambda x: surrogate.gmpo_surrogate(ratio(x, "token"), advantages, index, 9, epsilon=0.4)[0]
    )
    check(lambda x: surrogate.reinforce_surrogate(x, advantages))
    for kind in ("k1", "k2", "k3"):
        check(lambda x, kind=kind: surrogate.kl_estimate(x, ref, kind=kind))
    for how in ("token", "sequence", "constant"):
        check(
            lambda x, how=how: surrogate.aggregate(
                x, advantages.abs(), index, 9, how=how, max_length=8
            )[0]
        )


def test_grpo_with_equal_clips_is_dapo_at_equal_lengths():
    """With replies of one length the mean of means is the mean over tokens."""
    index = torch.arange(4).repeat_interleave(3)
    values = torch.randn(12, generator=torch.Generator().manual_seed(0))
    by_token = surrogate.aggregate(values, torch.ones(12), index, 4, how="token")
    by_sequence = surrogate.aggregate(values, torch.ones(12), index, 4, how="sequence")
    quotients = [float(total) / count for total, count in (by_token, by_sequence)]
    assert quotients[0] == pytest.approx(quotients[1])
