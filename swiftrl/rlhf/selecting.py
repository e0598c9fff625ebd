"""Which of a prompt's replies are kept, by what they scored: pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

__all__ = ["Keep", "Kept", "Selection", "select"]

Keep = Literal["best", "pairs", "all"]


@dataclass(frozen=True, slots=True)
class Selection:
    """What is kept of n replies to a prompt.

    Attributes:
        keep: the best replies, pairs of a better and a worse one, or all that have a score.
        most: replies or pairs of a prompt.
        threshold: least score of a reply that is kept (the better one of a pair); None for any.
        easy: a prompt is left out if more than this share of its replies reach `threshold`.
        margin: by how much the better reply of a pair must score more.
    """

    keep: Keep
    most: int = 1
    threshold: float | None = None
    easy: float = 1.0
    margin: float = 0.0


@dataclass(frozen=True, slots=True)
class Kept:
    """A row of the result: a reply's number, and that of the worse one of a pair."""

    chosen: int
    rejected: int | None = None


def select(
    selection: Selection, scores: Sequence[float | None], texts: Sequence[str]
) -> tuple[list[Kept], str]:
    """Return what is kept of a prompt's replies, and why nothing is if nothing is.

    Of replies with the same text the first counts. Pairs are the best with the worst, the second
    best with the second worst, and so on (best-of-n and worst-of-n as in iterative preference
    optimisation, Pang et al. 2024, arXiv:2404.19733). Ties go to the earlier reply.

    Args:
        selection: what is asked for.
        scores: of n replies; None where a reply has none.
        texts: of the replies.
    """
    scored = {
        index: score
        for index, score in enumerate(scores)
        if score is not None and texts.index(texts[index]) == index
    }
    if not scored:
        return [], "no score"
    least = float("-inf") if selection.threshold is None else selection.threshold
    reached = [score >= least for score in scores if score is not None]
    if selection.threshold is not None and sum(reached) > selection.easy * len(reached):
        return [], "too easy"
    ranked = sorted(scored, key=lambda index: (-scored[index], index))
    if selection.keep == "all":
        return [Kept(index) for index in sorted(scored)], ""
    good = [index for index in ranked if scored[index] >= least][: selection.most]
    if not good:
        return [], "below the threshold"
    if selection.keep == "best":
        return [Kept(index) for index in good], ""
    pairs = [
        Kept(better, worse)
        for place, (better, worse) in enumerate(zip(good, reversed(ranked), strict=False))
        if place < len(ranked) // 2 and scored[better] - scored[worse] > selection.margin
    ]
    return pairs, "" if pairs else "no difference"
