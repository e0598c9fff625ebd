"""Means with their errors, several tries at once, and whether one model is better than another."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Comparison", "Estimate", "compare", "estimate", "majority", "pass_at_k"]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over items.

    Attributes:
        mean: of the items' own means.
        error: its standard error, sample standard deviation / sqrt(number); 0 for one item.
        number: items.
    """

    mean: float
    error: float
    number: int

    @property
    def interval(self) -> tuple[float, float]:
        """Bounds that hold the true mean in 95 of 100 cases, by the normal distribution."""
        return self.mean - 1.96 * self.error, self.mean + 1.96 * self.error


def estimate(values: Sequence[float]) -> Estimate:
    """Return the mean of items' values and its standard error.

    Raises:
        ValueError: there are none.
    """
    number = len(values)
    if not number:
        raise ValueError("no values")
    mean = math.fsum(values) / number
    if number == 1:
        return Estimate(mean, 0.0, 1)
    variance = math.fsum((value - mean) ** 2 for value in values) / (number - 1)
    return Estimate(mean, math.sqrt(variance / number), number)


def pass_at_k(right: int, tries: int, k: int) -> float:
    """Return the chance that at least one of `k` tries drawn from `tries` is right.

    1 - C(tries - right, k) / C(tries, k), without bias (Chen et al. 2021, arXiv:2107.03374, eq. 1).

    Raises:
        ValueError: k is not within 1 and tries.
    """
    if not 1 <= k <= tries or not 0 <= right <= tries:
        raise ValueError(f"{right} right of {tries} tries, k = {k}")
    return 1.0 - math.comb(tries - right, k) / math.comb(tries, k)


def majority(answers: Sequence[str | None], values: Sequence[float]) -> float:
    """Return the value of the answer given most often; of equals, the one given first."""
    counts = Counter(answer for answer in answers if answer is not None)
    if not counts:
        return 0.0
    most = max(counts.values())
    return next(
        value
        for answer, value in zip(answers, values, strict=True)
        if answer is not None and counts[answer] == most
    )


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two models on the same items.

    Attributes:
        difference: mean of the second's value minus the first's.
        error: its standard error, by pairs.
        p: two-sided probability of a difference at least this large if the models were equal:
            exact by the sign test where an item is right or wrong, else by the normal distribution.
        better, worse: items where the second is above and below the first.
        number: items in both.
    """

    difference: float
    error: float
    p: float
    better: int
    worse: int
    number: int


def compare(first: Sequence[float], second: Sequence[float]) -> Comparison:
    """Compare two models' values on the same items, pair by pair.

    Binary values: McNemar's exact test, the binomial test on the items where the two differ.

    Raises:
        ValueError: there are no items, or not equally many.
    """
    if len(first) != len(second):
        raise ValueError(f"{len(first)} and {len(second)} items")
    differences = [b - a for a, b in zip(first, second, strict=True)]
    found = estimate(differences)
    better = sum(value > 0 for value in differences)
    worse = sum(value < 0 for value in differences)
    if set(first) | set(second) <= {0.0, 1.0}:
        p = _sign_test(better, worse)
    elif found.error == 0:
        p = 1.0 if found.mean == 0 else 0.0
    else:
        p = math.erfc(abs(found.mean) / found.error / math.sqrt(2))
    return Comparison(found.mean, found.error, p, better, worse, found.number)


def _sign_test(better: int, worse: int) -> float:
    """Return the two-sided binomial probability of so uneven a split."""
    number, fewer = better + worse, min(better, worse)
    tail = sum(math.comb(number, k) for k in range(fewer + 1))
    return min(1.0, float(2 * tail / 2**number)) if number else 1.0
