"""Advantages of tokens: numbers derived by hand, a loop from the right, and the traps."""

import random

import pytest
import torch

from swiftrl.rlhf import gae


def t(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def near(*values: float, abs: float = 1e-9):
    return pytest.approx(list(values), abs=abs)


def loop(values, rewards, index, gamma, lam):
    """Return advantages from the last token to the first."""
    result = [0.0] * len(values)
    for i in reversed(range(len(values))):
        last = i + 1 == len(values) or index[i + 1] != index[i]
        following = 0.0 if last else values[i + 1]
        carried = 0.0 if last else result[i + 1]
        result[i] = rewards[i] + gamma * following - values[i] + gamma * lam[index[i]] * carried
    return result


def random_tokens(seed: int):
    rng = random.Random(seed)
    index = [s for s in range(20) for _ in range(rng.choice([1, 1, 2, 3, 7, 8, 9, 33]))]
    return [rng.gauss(0, 1) for _ in index], [rng.gauss(0, 1) for _ in index], index


def test_gae_by_hand():
    """gamma 0.9, lambda 0.5, values 1, 2 | 3, reward 4 | 5 at the ends.

    deltas 0.9 * 2 - 1 = 0.8, 4 - 2 = 2 | 5 - 3 = 2; advantages 0.8 + 0.45 * 2 = 1.7, 2 | 2.
    """
    values, index = t(1, 2, 3), torch.tensor([0, 0, 1])
    advantages, returns = gae.gae(values, t(0, 4, 5), index, gamma=0.9, lam=0.5)
    assert advantages.tolist() == near(1.7, 2, 2)
    assert returns.tolist() == near(2.7, 4, 5)


@pytest.mark.parametrize("seed", range(3))
def test_gae_equals_a_loop(seed):
    values, rewards, index = random_tokens(seed)
    lam = [random.Random(seed + s).random() for s in range(20)]
    k = torch.tensor(index)
    advantages, _ = gae.gae(t(*values), t(*rewards), k, gamma=0.99, lam=t(*lam))
    assert advantages.tolist() == near(*loop(values, rewards, index, 0.99, lam))
    constant, _ = gae.gae(t(*values), t(*rewards), k, gamma=1.0, lam=0.95)
    assert constant.tolist() == near(*loop(values, rewards, index, 1.0, [0.95] * 20))


def test_gae_with_lambda_one_is_return_minus_value():
    values, rewards, index = random_tokens(7)
    _, returns = gae.gae(t(*values), t(*rewards), torch.tensor(index), gamma=1.0, lam=1.0)
    for sequence in range(20):
        mine = [i for i in range(len(index)) if index[i] == sequence]
        sums = [sum(rewards[j] for j in mine if j >= i) for i in mine]
        assert [returns[i].item() for i in mine] == near(*sums)


def test_gae_stays_exact_over_ten_thousand_tokens():
    """Reward 1 at the end, values 0: the advantage of the first of n tokens is 0.999^(n - 1)."""
    n = 10_000
    rewards = torch.zeros(n)
    rewards[-1] = 1
    index = torch.zeros(n, dtype=torch.int64)
    advantages, _ = gae.gae(torch.zeros(n), rewards, index, gamma=1.0, lam=0.999)
    assert advantages[0].item() == pytest.approx(0.999 ** (n - 1), rel=1e-3)


def test_trap_5_gae_carries_the_next_value_across_masked_tokens():
    """Two turns with a tool's output between: model m, tool x. Row m m x x x m m, reward 1.

    The padded recursion that skips masked tokens keeps the next value and the next advantage; its
    result on the four trained tokens is that of the row without the gap, whatever the critic said
    of the tool's tokens.
    """
    values = [0.2, 0.4, 9.0, -9.0, 9.0, 0.6, 0.8]
    mask = [1, 1, 0, 0, 0, 1, 1]
    rewards = [0, 0, 0, 0, 0, 0, 1.0]
    following, carried, expected = 0.0, 0.0, []
    for i in reversed(range(7)):
        if mask[i]:
            delta = rewards[i] + 0.9 * following - values[i]
            carried = delta + 0.9 * 0.5 * carried
            following = values[i]
            expected.insert(0, carried)
    trained = torch.tensor(mask) == 1
    index = torch.zeros(4, dtype=torch.int64)
    advantages, _ = gae.gae(t(*values)[trained], t(*rewards)[trained], index, gamma=0.9, lam=0.5)
    assert advantages.tolist() == near(*expected)
    assert advantages[1].item() == pytest.approx(0.9 * 0.6 - 0.4 + 0.45 * expected[2])


def test_length_adaptive_lambda_by_hand():
    """alpha 0.05: 1 - 1 / 2 at 40 tokens, 1 - 1 / 50 at 1000; 0 at 20 tokens and below."""
    lam = gae.length_adaptive_lambda(t(40, 1000, 20, 5, 0))
    assert lam.tolist() == near(0.5, 0.98, 0, 0, 0)


def test_token_rewards_by_hand():
    index = torch.tensor([0, 0, 2])
    rewards = gae.token_rewards(t(1, 7, -1), index, kl_N=t(0.1, 0.2, 0.3), beta=2)
    assert rewards.tolist() == near(-0.2, 0.6, -1.6)
    assert gae.token_rewards(t(1, 7, -1), index).tolist() == [0, 1, -1]


def test_token_rewards_refuse_unscorable_replies():
    with pytest.raises(ValueError, match="leave out unscorable replies"):
        gae.token_rewards(t(float("nan")), torch.tensor([0]))


def test_whitening_by_hand():
    """1, 2, 3: mean 2, variance 1. With weights 1, 1, 2: mean 9 / 4, variance 2.75 / 3."""
    assert gae.whiten(t(1, 2, 3)).tolist() == near(-1, 0, 1, abs=1e-7)
    assert gae.whiten(t(1, 2, 3), shift_mean=False).tolist() == near(1, 2, 3, abs=1e-7)
    root = (2.75 / 3) ** 0.5
    weighted = gae.whiten(t(1, 2, 3), t(1, 1, 2))
    assert weighted.tolist() == near(-1.25 / root, -0.25 / root, 0.75 / root, abs=1e-7)


def test_whitening_weights_are_repetitions():
    by_weight = gae.whiten(t(1, 5, 2), t(2, 1, 3))
    repeated = gae.whiten(t(1, 1, 5, 2, 2, 2))
    assert by_weight.tolist() == near(*repeated[[0, 2, 3]].tolist())


def test_trap_1_whitening_equal_values_gives_exactly_zero():
    equal = torch.full((7,), 0.1)
    assert gae.whiten(equal).tolist() == [0.0] * 7
    assert torch.equal(gae.whiten(equal, shift_mean=False), equal)


def test_value_loss_by_hand():
    """V 3, old 1, R 2.5: 0.25 / 2; clipped to 1.2: 1.3^2 / 2 = 0.845 is larger."""
    values = t(3.0).requires_grad_()
    loss = gae.clipped_value_loss(values, t(1), t(2.5), clip=0.2)
    assert loss.tolist() == near(0.845)
    assert torch.autograd.grad(loss.sum(), values)[0].tolist() == [0]
    assert gae.clipped_value_loss(values, t(1), t(2.5), clip=None).tolist() == near(0.125)
