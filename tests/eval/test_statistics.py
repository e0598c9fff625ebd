"""Means, errors, tries and comparisons, held to hand derivations and to scipy-free definitions."""

import itertools
import math
import random
import statistics

import pytest

from swiftrl.eval.statistics import compare, estimate, majority, pass_at_k


def test_mean_and_standard_error():
    values = [1.0, 0.0, 1.0, 1.0, 0.25]
    found = estimate(values)
    assert found.mean == pytest.approx(statistics.mean(values))
    assert found.error == pytest.approx(statistics.stdev(values) / math.sqrt(5))
    assert found.interval[1] - found.mean == pytest.approx(1.96 * found.error)
    assert estimate([0.5]).error == 0
    with pytest.raises(ValueError, match="no values"):
        estimate([])


@pytest.mark.parametrize("right", range(6))
@pytest.mark.parametrize("k", range(1, 6))
def test_pass_at_k_is_the_share_of_draws_with_a_right_one(right, k):
    tries = [True] * right + [False] * (5 - right)
    draws = list(itertools.combinations(tries, k))
    assert pass_at_k(right, 5, k) == pytest.approx(sum(map(any, draws)) / len(draws))


def test_pass_at_k_refuses_what_is_impossible():
    for wrong in ((1, 4, 5), (5, 4, 1), (1, 4, 0)):
        with pytest.raises(ValueError, match="right of"):
            pass_at_k(*wrong)


def test_majority():
    assert majority(["4", "5", "4"], [0, 1, 0]) == 0
    assert majority(["5", "4"], [1, 0]) == 1  # of equals, the first
    assert majority([None, None, "4"], [0, 0, 1]) == 1
    assert majority([None], [0]) == 0


def test_right_and_wrong_are_compared_by_the_sign_test():
    # 1 better, 6 worse: 2 * (C(7,0) + C(7,1)) / 2^7
    first = [1.0] * 6 + [0.0] + [1.0] * 3
    second = [0.0] * 6 + [1.0] + [1.0] * 3
    found = compare(first, second)
    assert (found.better, found.worse, found.number) == (1, 6, 10)
    assert found.p == pytest.approx(2 * (1 + 7) / 128)
    assert found.difference == pytest.approx(-0.5)
    assert compare([1.0, 0.0], [1.0, 0.0]).p == 1.0


def test_shares_are_compared_by_pairs():
    draw = random.Random(0)
    base = [draw.random() for _ in range(200)]
    better = [value + 0.05 + 0.02 * draw.random() for value in base]
    noise = [value + draw.gauss(0, 0.3) for value in base]
    assert compare(base, better).p < 1e-9
    assert compare(base, better).difference == pytest.approx(0.06, abs=0.002)
    assert compare(base, noise).p > 0.01
    assert compare(base, base).p == 1.0
    with pytest.raises(ValueError, match="1 and 2"):
        compare([0.0], [0.0, 1.0])


def test_p_is_right_as_often_as_it_says():
    """Of two equal models, one in twenty comparisons is below 0.05, or fewer: the test is exact."""
    draw = random.Random(1)
    below = 0
    for _ in range(2000):
        pairs = [[float(draw.random() < 0.5) for _ in range(40)] for _ in range(2)]
        below += compare(*pairs).p < 0.05
    assert below / 2000 < 0.055
