"""Advantages of replies: numbers derived by hand, loops that know no tensor, and the traps."""

import math
import random
import statistics

import pytest
import torch

from swiftrl.rlhf import advantages

NAN = float("nan")

# Two groups of unequal size, their replies mixed: group 0 has rewards 3, 1; group 1 has 2, 4, 6.
REWARDS = (2.0, 3.0, 4.0, 1.0, 6.0)
GROUPS = (1, 0, 1, 0, 1)


def t(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32)


def index(*values: int) -> torch.Tensor:
    return torch.tensor(values)


def near(*values: float, abs: float = 1e-6):
    return pytest.approx(list(values), abs=abs)


def random_groups(seed: int, unscorable: float = 0.15):
    """Return rewards and groups of 1 to 6 replies, shuffled, some unscorable, some groups flat."""
    rng = random.Random(seed)
    rows = []
    for group in range(12):
        flat = rng.random() < 0.25
        value = rng.gauss(0, 2)
        for _ in range(rng.randint(1, 6)):
            reward = value if flat else rng.choice([0.0, 1.0, rng.gauss(0, 2)])
            rows.append((NAN if rng.random() < unscorable else reward, group))
    rng.shuffle(rows)
    rows.append((1.0, 12))
    return [reward for reward, _ in rows], [group for _, group in rows]


def scored(rewards, groups, group):
    return [r for r, g in zip(rewards, groups, strict=True) if g == group and not math.isnan(r)]


def by_loop(rewards, groups, advantage):
    """Return `advantage(reward, scorable rewards of its group)` of each, 0 as the traps say."""
    result = []
    for reward, group in zip(rewards, groups, strict=True):
        others = scored(rewards, groups, group)
        idle = math.isnan(reward) or len(others) < 2 or max(others) == min(others)
        result.append(0.0 if idle else advantage(reward, others))
    return result


def test_grpo_by_hand():
    """Group 0: mean 2, deviation sqrt 2; group 1: mean 4, deviation sqrt((4 + 0 + 4) / 2) = 2."""
    result = advantages.group_advantages(t(*REWARDS), index(*GROUPS), scale="group", epsilon=0)
    assert result.tolist() == near(-1, 1 / math.sqrt(2), 0, -1 / math.sqrt(2), 1)


def test_grpo_adds_epsilon_to_the_deviation():
    """Rewards 1, 0: 0.5 / (sqrt 0.5 + 1e-4) = 0.7070068."""
    result = advantages.group_advantages(t(1, 0), index(0, 0), scale="group")
    assert result.tolist() == near(0.7070068, -0.7070068, abs=1e-7)


def test_grpo_of_the_batch_by_hand():
    """All rewards: mean 3.2, squares 1.44 + 0.04 + 0.64 + 4.84 + 7.84 = 14.8, / 4 = 3.7."""
    result = advantages.group_advantages(t(*REWARDS), index(*GROUPS), scale="batch", epsilon=0)
    root = math.sqrt(3.7)
    assert result.tolist() == near(-2 / root, 1 / root, 0, -1 / root, 2 / root)


def test_dr_grpo_by_hand():
    result = advantages.group_advantages(t(*REWARDS), index(*GROUPS), scale="none")
    assert result.tolist() == [-2, 1, 0, -1, 2]


def test_unknown_scale_is_named():
    with pytest.raises(ValueError, match="'gdpo'; expected group, batch or none"):
        advantages.group_advantages(t(1, 0), index(0, 0), scale="gdpo")  # type: ignore[arg-type]


def test_rloo_by_hand():
    """Group 0: 3 - 1, 1 - 3; group 1: 2 - (4 + 6) / 2, 4 - (2 + 6) / 2, 6 - (2 + 4) / 2."""
    result = advantages.leave_one_out_advantages(t(*REWARDS), index(*GROUPS))
    assert result.tolist() == near(-3, 2, 0, -2, 3)


def test_trap_10_unscorable_replies_take_no_part():
    """Group 1 without its 6: rewards 2, 4, mean 3. Group 2 has one scorable reply, group 3 none."""
    rewards = t(2, 3, 4, 1, NAN, 5, NAN, NAN)
    groups = index(1, 0, 1, 0, 1, 2, 2, 3)
    dr_grpo = advantages.group_advantages(rewards, groups, scale="none")
    assert dr_grpo.tolist() == [-1, 1, 1, -1, 0, 0, 0, 0]
    rloo = advantages.leave_one_out_advantages(rewards, groups)
    assert rloo.tolist() == near(-2, 2, 2, -2, 0, 0, 0, 0)
    assert advantages.zero_spread(rewards, groups).tolist() == [False, False, True, True]


@pytest.mark.parametrize("seed", range(5))
def test_group_advantages_equal_a_loop(seed):
    rewards, groups = random_groups(seed)
    every = [r for r in rewards if not math.isnan(r)]

    def compare(scale, advantage):
        result = advantages.group_advantages(t(*rewards), index(*groups), scale=scale)
        assert result.tolist() == near(*by_loop(rewards, groups, advantage), abs=1e-5)

    compare("none", lambda r, g: r - statistics.fmean(g))
    compare("group", lambda r, g: (r - statistics.fmean(g)) / (statistics.stdev(g) + 1e-4))
    compare("batch", lambda r, g: (r - statistics.fmean(g)) / (statistics.stdev(every) + 1e-4))


@pytest.mark.parametrize("seed", range(5))
def test_leave_one_out_equals_a_loop(seed):
    rewards, groups = random_groups(seed)
    expected = by_loop(rewards, groups, lambda r, g: r - (sum(g) - r) / (len(g) - 1))
    result = advantages.leave_one_out_advantages(t(*rewards), index(*groups))
    assert result.tolist() == near(*expected, abs=1e-5)


def test_trap_1_seven_equal_rewards_give_exactly_zero():
    """In float32 their mean is not 0.1; rounding over a deviation of rounding is of order 1."""
    rewards, groups = torch.full((7,), 0.1), torch.zeros(7, dtype=torch.int64)
    assert rewards.std() > 0 or (rewards - rewards.mean()).abs().max() > 0
    for scale in ("group", "batch", "none"):
        result = advantages.group_advantages(rewards, groups, scale=scale, epsilon=0)
        assert result.tolist() == [0.0] * 7
    assert advantages.leave_one_out_advantages(rewards, groups).tolist() == [0.0] * 7
    assert advantages.zero_spread(rewards, groups).tolist() == [True]


def test_trap_1_equal_up_to_rounding_is_equal():
    """Weighted sums of the same rewards may differ in the last bit: 1 and the number after it."""
    rewards = torch.stack([t(1).squeeze(), torch.nextafter(t(1), t(2)).squeeze()])
    assert rewards[0] != rewards[1]
    assert advantages.zero_spread(rewards, index(0, 0)).tolist() == [True]
    assert advantages.group_advantages(rewards, index(0, 0), scale="group").tolist() == [0, 0]


def test_small_differences_are_still_differences():
    assert advantages.zero_spread(t(1, 1 + 1e-5, 1e-30, 0), index(0, 0, 1, 1)).tolist() == [
        False,
        False,
    ]


def test_infinite_rewards_are_not_hidden():
    """They have no mean; NaN shows, where 0 would hide it."""
    result = advantages.group_advantages(t(math.inf, 0), index(0, 0), scale="none")
    assert result.isnan().any()


def test_half_precision_rewards_are_widened():
    rewards = torch.tensor([1.0, 0.0], dtype=torch.bfloat16)
    result = advantages.group_advantages(rewards, index(0, 0), scale="group")
    assert result.dtype == torch.float32
    assert result.tolist() == near(0.7070068, -0.7070068)


def test_no_replies():
    empty = torch.zeros(0)
    assert advantages.zero_spread(empty, empty.long()).tolist() == []
    assert advantages.group_advantages(empty, empty.long(), scale="group").tolist() == []


def test_reinforce_plus_plus_by_hand():
    """Mean 3.2 and variance 3.7 over the batch; the unscorable reply takes no part."""
    result = advantages.reinforce_plus_plus_advantages(t(*REWARDS, NAN))
    root = math.sqrt(3.7)
    assert result.tolist() == near(-1.2 / root, -0.2 / root, 0.8 / root, -2.2 / root, 2.8 / root, 0)


def test_reinforce_plus_plus_over_tokens_by_hand():
    """Rewards 1, 0 of 3 and 1 tokens: mean 0.75, variance (3 / 16 + 9 / 16) / 3 = 1 / 4."""
    result = advantages.reinforce_plus_plus_advantages(t(1, 0), lengths_B=index(3, 1))
    assert result.tolist() == near(0.5, -1.5)


def test_reinforce_plus_plus_baseline_by_hand():
    """Minus group means: -2, 1, 0, -1, 2; squares 10, / 4 = 2.5. A flat group keeps exactly 0."""
    rewards, groups = t(*REWARDS, 0.1, 0.1), index(*GROUPS, 2, 2)
    result = advantages.reinforce_plus_plus_baseline_advantages(rewards, groups)
    root = math.sqrt(10 / 6)
    assert result.tolist() == near(-2 / root, 1 / root, 0, -1 / root, 2 / root, 0, 0)
    assert result.tolist()[-2:] == [0.0, 0.0]


def test_reinforce_plus_plus_baseline_over_tokens_equals_repeated_tokens():
    """Whitening the centred rewards of all tokens, one by one."""
    lengths = (4, 1, 2, 3, 5)
    centred = [-2.0, 1.0, 0.0, -1.0, 2.0]
    tokens = [c for c, n in zip(centred, lengths, strict=True) for _ in range(n)]
    mean, deviation = statistics.fmean(tokens), statistics.stdev(tokens)
    result = advantages.reinforce_plus_plus_baseline_advantages(
        t(*REWARDS), index(*GROUPS), lengths_B=index(*lengths)
    )
    assert result.tolist() == near(*[(c - mean) / deviation for c in centred])


def test_remax_by_hand():
    """Greedy rewards 1 and 5; a group of equal rewards still differs from its greedy reply."""
    result = advantages.remax_advantages(t(*REWARDS, NAN), index(*GROUPS, 0), t(1, 5))
    assert result.tolist() == near(-3, 2, -1, 0, 1, 0)
    assert advantages.remax_advantages(t(1, 1), index(0, 0), t(0)).tolist() == [1, 1]
    assert advantages.remax_advantages(t(1, 1), index(0, 0), t(NAN)).tolist() == [0, 0]


def test_opo_by_hand():
    """Group 0: (3 * 10 + 1 * 30) / 40 = 1.5; group 1: (2 * 1 + 4 * 1 + 6 * 2) / 4 = 4.5."""
    result = advantages.opo_advantages(t(*REWARDS), index(*GROUPS), index(1, 10, 1, 30, 2))
    assert result.tolist() == near(-2.5, 1.5, -0.5, -0.5, 1.5)


def test_opo_of_equal_lengths_is_dr_grpo():
    rewards, groups = random_groups(3)
    lengths = torch.full((len(rewards),), 7)
    opo = advantages.opo_advantages(t(*rewards), index(*groups), lengths)
    plain = advantages.group_advantages(t(*rewards), index(*groups), scale="none")
    assert opo.tolist() == near(*plain.tolist())


def test_gpg_by_hand():
    """Two of three groups vary: alpha = 3 / 2."""
    result = advantages.gpg_advantages(t(*REWARDS, 1, 1), index(*GROUPS, 2, 2))
    assert result.tolist() == near(-3, 1.5, 0, -1.5, 3, 0, 0)
    assert advantages.gpg_advantages(t(1, 1), index(0, 0)).tolist() == [0, 0]


def test_pass_at_k_by_hand():
    """The best gets its lead over the second: 3 - 1, 6 - 4; a tie of the best gives 0 to all."""
    rewards, groups = t(*REWARDS, 1, 1, 0, NAN, 5), index(*GROUPS, 2, 2, 2, 3, 3)
    result = advantages.pass_at_k_advantages(rewards, groups)
    assert result.tolist() == near(0, 2, 0, 0, 2, 0, 0, 0, 0, 0)


@pytest.mark.parametrize("seed", range(3))
def test_pass_at_k_is_the_leave_one_out_of_the_maximum(seed):
    rewards, groups = random_groups(seed)

    def advantage(reward, group):
        others = list(group)
        others.remove(reward)
        return max(group) - max(others)

    result = advantages.pass_at_k_advantages(t(*rewards), index(*groups))
    assert result.tolist() == near(*by_loop(rewards, groups, advantage))


def test_gdpo_by_hand():
    """Group 0: rewards (1, 0) and (0, 0): normalised +-1 / sqrt 2 and 0. Group 1: both (3, 1),
    each +-1 / sqrt 2. Weights 1 and 2: +-w, +-3 w with w = 1 / sqrt 2; squares 0.5 + 0.5 + 4.5 +
    4.5 = 10, / 3."""
    rewards = torch.tensor([[1.0, 0.0], [0.0, 0.0], [3.0, 3.0], [1.0, 1.0]])
    result = advantages.gdpo_advantages(rewards, index(0, 0, 1, 1), t(1, 2), epsilon=0)
    small = math.sqrt(0.5) / math.sqrt(10 / 3)
    assert result.tolist() == near(small, -small, 3 * small, -3 * small)


def test_gdpo_leaves_out_only_what_could_not_be_scored():
    """The first reward is +-1 / sqrt 2 for replies 0 and 1, the second +-1 / sqrt 2 for 1 and 3;
    reply 2 has none."""
    rewards = torch.tensor([[1.0, NAN], [0.0, 5.0], [NAN, NAN], [NAN, 3.0]])
    result = advantages.gdpo_advantages(rewards, index(0, 0, 0, 0), t(1, 1), epsilon=0)
    half = math.sqrt(0.5)
    sums = [half, -half + half, 0, -half]
    deviation = math.sqrt(sum(s * s for s in sums) / 2)
    assert result.tolist() == near(*[s / deviation for s in sums])


def test_trap_1_gdpo_without_spread_is_exactly_zero():
    rewards = torch.full((7, 2), 0.1)
    result = advantages.gdpo_advantages(rewards, torch.zeros(7, dtype=torch.int64), t(1, 1))
    assert result.tolist() == [0.0] * 7
