"""Whether one evaluated model is better than another, question by question."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from swiftrl.core.errors import DataError
from swiftrl.eval.report import read_report, read_samples
from swiftrl.eval.statistics import Comparison, compare

__all__ = ["Verdict", "compare_folders"]

SIGNIFICANT = 0.05


@dataclass(frozen=True, slots=True)
class Verdict:
    """Two models on one task.

    Attributes:
        task, metric: which.
        first, second: their means over the questions that both answered.
        found: the comparison.
        alone: questions that only one of them answered.
    """

    task: str
    metric: str
    first: float
    second: float
    found: Comparison
    alone: int

    @property
    def words(self) -> str:
        """The verdict in words."""
        if self.found.p >= SIGNIFICANT:
            return "no significant difference"
        return "the second is better" if self.found.difference > 0 else "the first is better"


def compare_folders(first: Path, second: Path) -> list[Verdict]:
    """Compare two folders of results on the tasks that both have.

    Raises:
        DataError: a folder holds no results, or they share no question.
    """
    reports = read_report(first)["tasks"], read_report(second)["tasks"]
    names = [name for name in reports[0] if name in reports[1]]
    if not names:
        raise DataError(
            f"{first} and {second} share no task: {', '.join(reports[0])}; {', '.join(reports[1])}."
        )
    return [_verdict(first, second, name, reports[0][name]["metric"]) for name in names]


def _verdict(first: Path, second: Path, task: str, metric: str) -> Verdict:
    ours, theirs = read_samples(first, task), read_samples(second, task)
    both = [key for key in ours if key in theirs]
    pairs = []
    for key in both:
        values = [_mean(samples[key]["values"].get(metric, [])) for samples in (ours, theirs)]
        if None not in values:
            pairs.append(values)
    if not pairs:
        raise DataError(
            f"{task}: {first} and {second} share no question that was scored in both; the data, "
            "the examples or the way of asking differ."
        )
    a, b = ([float(pair[i]) for pair in pairs] for i in (0, 1))  # type: ignore[arg-type]
    alone = len(ours) + len(theirs) - 2 * len(both)
    return Verdict(task, metric, sum(a) / len(a), sum(b) / len(b), compare(a, b), alone)


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
